import { createHmac, generateKeyPairSync, type KeyObject, sign as signWith } from 'node:crypto'
import type { AgentTokenKeys } from '../../packages/core/src/tokens/agent-tokens.js'

/** The time of all tests, in ms. */
export const NOW = 1_800_000_000_000
export const NOW_S = NOW / 1000
export const clock = () => NOW

/** Tokens written by hand, so that what a library would never write can be tried. */
export interface Recipe {
  header?: Record<string, unknown>
  payload?: Record<string, unknown>
  /** Instead of `payload`: JSON text. */
  payloadRaw?: string
  signature?: string
}

/** One way to sign, with what `agentTokens` needs to verify it. */
export interface Kind {
  readonly name: string
  readonly alg: string
  readonly keys: AgentTokenKeys
  readonly signature: (input: string) => string
}

const encode = (text: string) => Buffer.from(text).toString('base64url')

export const goodClaims = () => ({ sub: 'agent-low', iss: 'meshguard', iat: NOW_S, exp: NOW_S + 600 })

export function write(kind: Kind, { header, payload, payloadRaw, signature }: Recipe = {}): string {
  const claims = payloadRaw ?? JSON.stringify({ ...goodClaims(), ...payload })
  const input = `${encode(JSON.stringify({ alg: kind.alg, typ: 'JWT', ...header }))}.${encode(claims)}`
  return `${input}.${signature ?? kind.signature(input)}`
}

function asymmetric(name: string, alg: string, pair: { publicKey: KeyObject; privateKey: KeyObject }): Kind & { pem: string } {
  const pem = String(pair.publicKey.export({ format: 'pem', type: 'spki' }))
  const signature = (input: string) => {
    const options = { key: pair.privateKey, dsaEncoding: 'ieee-p1363' } as const
    return signWith(alg === 'ES256' ? 'sha256' : null, Buffer.from(input), options).toString('base64url')
  }
  return { name, alg, keys: { publicKey: pem }, signature, pem }
}

export const ed25519 = asymmetric('Ed25519', 'EdDSA', generateKeyPairSync('ed25519'))
export const es256 = asymmetric('ES256', 'ES256', generateKeyPairSync('ec', { namedCurve: 'P-256' }))
export const SECRET = 'a secret of more than thirty-two bytes, for tests'
export const hs256 = hmac(SECRET)

export function hmac(secret: string | Uint8Array): Kind {
  const signature = (input: string) => createHmac('sha256', secret).update(input).digest('base64url')
  return { name: 'HS256', alg: 'HS256', keys: { secret }, signature }
}

export const kinds: readonly Kind[] = [ed25519, es256, hs256]
