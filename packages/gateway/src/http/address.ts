import { isIP } from 'node:net'
import ipaddr from 'ipaddr.js'

/** Whether a host is this machine alone: `localhost`, 127.0.0.0/8 or ::1. */
export function isLoopback(host: string): boolean {
  if (host.toLowerCase() === 'localhost') return true
  return isIP(host) > 0 && ipaddr.process(host).range() === 'loopback'
}

/** Answers the address of the caller. */
export type AddressOf = (remote: string | undefined, forwardedFor: string | undefined) => string

/** Longer lists of `X-Forwarded-For` are cut at their far end, which nobody vouches for anyway. */
const MAX_HOPS = 32

/**
 * How the address of a caller is found: that of the connection, or, where that one is a trusted proxy, the last address in
 * `X-Forwarded-For` that is not one. What a client wrote in front of it counts nothing.
 *
 * @param trustedProxies Addresses and CIDR ranges, well formed.
 */
export function addressOf(trustedProxies: readonly string[]): AddressOf {
  if (trustedProxies.length === 0) return (remote) => plain(remote)
  const ranges = trustedProxies.map((one) => {
    const [address, bits] = one.includes('/') ? ipaddr.parseCIDR(one) : [ipaddr.parse(one), undefined]
    return [address, bits ?? (address.kind() === 'ipv4' ? 32 : 128)] as const
  })
  const isTrusted = (text: string): boolean => {
    const address = ipaddr.process(text)
    return ranges.some(([range, bits]) => range.kind() === address.kind() && address.match([range, bits] as never))
  }
  return (remote, forwardedFor) => {
    let address = plain(remote)
    if (forwardedFor === undefined) return address
    const hops = forwardedFor.split(',').slice(-MAX_HOPS)
    while (isIP(address) > 0 && isTrusted(address)) {
      const next = hops.pop()?.trim()
      if (next === undefined || isIP(next) === 0) break
      address = plain(next)
    }
    return address
  }
}

/** Without the prefix that an IPv4 address has on a socket for both kinds. */
function plain(address: string | undefined): string {
  if (address === undefined) return 'unknown'
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address
}
