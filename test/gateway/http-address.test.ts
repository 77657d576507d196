import { describe, expect, test } from 'vitest'
import { addressOf, isLoopback } from '../../packages/gateway/src/http/address.js'
import { startGateway } from './gateway-world.js'

describe('The address of a caller', () => {
  const cases: [string, readonly string[], string | undefined, string | undefined, string][] = [
    ['is that of its connection', [], '9.9.9.9', undefined, '9.9.9.9'],
    ['is not what it says itself', [], '9.9.9.9', '1.1.1.1', '9.9.9.9'],
    ['is not what it says where other proxies are trusted', ['10.0.0.0/8'], '9.9.9.9', '1.1.1.1', '9.9.9.9'],
    ['is what a trusted proxy says', ['10.0.0.0/8'], '10.1.2.3', '1.1.1.1', '1.1.1.1'],
    ['is the last that no proxy of ours added', ['10.0.0.0/8'], '10.1.2.3', '6.6.6.6, 1.1.1.1, 10.9.9.9', '1.1.1.1'],
    ['is the proxy where it says nothing', ['10.1.2.3'], '10.1.2.3', undefined, '10.1.2.3'],
    ['is the proxy where it says nonsense', ['10.1.2.3'], '10.1.2.3', 'unknown', '10.1.2.3'],
    ['is the proxy where it says nothing else', ['10.0.0.0/8'], '10.1.2.3', '', '10.1.2.3'],
    ['is read to the first nonsense', ['10.0.0.0/8'], '10.1.2.3', '1.1.1.1, <script>, 10.2.2.2', '10.2.2.2'],
    ['is the farthest of ours where all are', ['10.0.0.0/8'], '10.1.2.3', '10.3.3.3, 10.2.2.2', '10.3.3.3'],
    ['is an IPv4 address on a socket of both kinds', [], '::ffff:9.9.9.9', undefined, '9.9.9.9'],
    ['is known as IPv4 to an IPv4 range', ['10.0.0.0/8'], '::ffff:10.1.2.3', '::ffff:1.1.1.1', '1.1.1.1'],
    ['is an IPv6 address', ['fd00::/8'], 'fd00::1', '2001:db8::1', '2001:db8::1'],
    ['is not in a range of the other kind', ['::/0'], '10.1.2.3', '1.1.1.1', '10.1.2.3'],
    ['is unknown on a socket that is gone', [], undefined, '1.1.1.1', 'unknown'],
  ]
  test.each(cases)('%s', (_, trusted, remote, forwardedFor, expected) => {
    expect(addressOf(trusted)(remote, forwardedFor)).toBe(expected)
  })

  test('of a very long list is found in bounded work', () => {
    const list = `6.6.6.6,${'10.1.1.1,'.repeat(1000)}10.1.1.1`
    expect(addressOf(['10.0.0.0/8'])('10.1.2.3', list)).toBe('10.1.1.1')
  })
})

test.each([
  ['127.0.0.1', true],
  ['127.255.0.1', true],
  ['::1', true],
  ['localhost', true],
  ['::ffff:127.0.0.1', true],
  ['0.0.0.0', false],
  ['::', false],
  ['128.0.0.1', false],
  ['localhost.evil.example', false],
  ['unknown', false],
  ['127.1', false],
])('%s is loopback: %s', (host, expected) => {
  expect(isLoopback(host)).toBe(expected)
})

test('What the audit log holds is the address that a trusted proxy says', async () => {
  const world = await startGateway({ trustedProxies: ['127.0.0.1'] })
  try {
    const { token } = await world.createAgent()
    const headers = { authorization: `Bearer ${token}`, 'x-meshguard-action': 'read:a', 'x-forwarded-for': '6.6.6.6, 1.2.3.4' }
    expect((await world.fetch('/proxy/check', { headers })).status).toBe(200)
    const { items } = await world.services.audit.query({})
    expect(items[0]?.request?.ip).toBe('1.2.3.4')
  } finally {
    await world.close()
  }
})
