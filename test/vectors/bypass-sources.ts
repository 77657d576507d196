import { type Answer, ConnectionError, type DecisionSource, fromPolicies, UnavailableError } from '@meshguard/core'
import { vectors } from './bypass-vectors.js'

const ALLOW: Answer = { allowed: true, code: 'allowed' }
const never = () => new Promise<Answer>(() => undefined)
const rejects = (error: Error) => () => Promise.reject(error)
const answers = (garbage: unknown) => () => garbage as Answer
const later = (garbage: unknown) => async () => garbage as Answer

/**
 * Sources that stand for the engines and gateways of the setups. One that asks a broken gateway rejects with
 * `ConnectionError` when it was not reached, and has nothing well formed to answer otherwise.
 */
const broken: Readonly<Record<string, () => Answer | Promise<Answer>>> = {
  'engine promise rejects': rejects(new Error('the engine failed')),
  'engine never answers': never,
  'timeout fires, then allow arrives': () => new Promise((resolve) => setTimeout(() => resolve(ALLOW), 140)),
  'engine returns {allow:"true"}': answers({ allow: 'true', allowed: 'true', code: 'allowed' }),
  'engine returns undefined': answers(undefined),
  'engine returns {allow:{}}': answers({ allow: {}, allowed: {}, code: 'allowed' }),
  'engine resolves deny then calls back allow': () =>
    new Promise((resolve) => {
      resolve({ allowed: false, code: 'denied' })
      resolve(ALLOW)
      setTimeout(() => resolve(ALLOW), 5)
    }),
  'throws Error("secret /etc/policy.yaml")': () => {
    throw new Error('secret /etc/policy.yaml')
  },
  'gateway accepts, never answers': never,
  '429 + Retry-After: 999999': rejects(new UnavailableError('too_many_requests')),
  'gateway sends headers, then stalls': never,
  '502 with HTML': rejects(new ConnectionError('502')),
  '200 decision for another request id': later({ decision: 'allow', traceId: 'of-another-request' }),
  '200 {"__proto__":{"decision":true}}': later(JSON.parse('{"__proto__":{"allowed":true,"code":"allowed"}}')),
  '200 text/html login page': later('<html><title>Log in</title></html>'),
  '204 No Content': later(undefined),
  '200 with empty body': later(''),
  '200 with a 100 MB body': rejects(new UnavailableError('the answer is over the limit')),
  'TLS certificate invalid': rejects(new ConnectionError('self-signed certificate')),
}

/** The source of a setup: the policies of the case, or what its engine or gateway does. */
export function sourceOf(setup: string, policy: string): DecisionSource {
  const { engine, gateway } = vectors.setups[setup] ?? {}
  const name = engine ?? gateway
  if (name === undefined || setup === 's2') return fromPolicies(vectors.policies[policy] ?? [])
  const decide = broken[name]
  if (decide === undefined) throw new Error(`Nothing stands for "${name}"`)
  return { name, decide }
}
