import { assertMs, assertOptions, isTraceId } from '@meshguard/core/http'
import type { ClientOptions } from './options.js'

/** What a client was made of, checked and complete. */
export interface Settings {
  /** Without a slash at its end. */
  readonly gatewayUrl: string
  readonly agentToken: string | undefined
  readonly adminToken: string | undefined
  readonly timeoutMs: number
  readonly traceId: string | undefined
  readonly retries: number
}

const WHERE = 'MeshGuardClient'
const OPTIONS = ['gatewayUrl', 'agentToken', 'adminToken', 'timeoutMs', 'traceId', 'retries']
const MAX_RETRIES = 10

/**
 * Reads the options, and the environment for what they leave out.
 *
 * @throws TypeError that names the option or the variable, and never holds a token.
 */
export function readSettings(options: ClientOptions): Settings {
  assertOptions(WHERE, options, OPTIONS)
  const { traceId, retries = 0 } = options
  if (traceId !== undefined && !isTraceId(traceId)) {
    throw new TypeError(`${WHERE}: option "traceId" must be 8 to 128 letters, digits and ._:-`)
  }
  if (!Number.isInteger(retries) || retries < 0 || retries > MAX_RETRIES) {
    throw new TypeError(`${WHERE}: option "retries" must be a whole number from 0 to ${MAX_RETRIES}`)
  }
  return Object.freeze({
    gatewayUrl: readUrl(options.gatewayUrl),
    agentToken: readToken('agentToken', 'MESHGUARD_AGENT_TOKEN', options.agentToken),
    adminToken: readToken('adminToken', 'MESHGUARD_ADMIN_TOKEN', options.adminToken),
    timeoutMs: readTimeout(options.timeoutMs),
    traceId,
    retries,
  })
}

/** A variable of the environment; an empty one counts as absent. Where there is no `process`, as on the edge, all are absent. */
function variable(name: string): string | undefined {
  const { process } = globalThis as { process?: { env?: Readonly<Record<string, string | undefined>> } }
  return process?.env?.[name]?.trim() || undefined
}

function readUrl(option: string | undefined): string {
  const text = option ?? variable('MESHGUARD_GATEWAY_URL')
  if (text === undefined) {
    throw new TypeError(`${WHERE}: where is the gateway? Give option "gatewayUrl" or set MESHGUARD_GATEWAY_URL`)
  }
  const named = option === undefined ? 'MESHGUARD_GATEWAY_URL' : 'option "gatewayUrl"'
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !['http:', 'https:'].includes(url.protocol)) {
    throw new TypeError(`${WHERE}: ${named} must be a URL like https://gateway.example`)
  }
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '') {
    throw new TypeError(`${WHERE}: ${named} must have no user, password, query or fragment`)
  }
  return url.href.replace(/\/+$/, '')
}

const TOKEN = /^[\x21-\x7e]+$/

/** A token goes into a header: what cannot stand there is refused here, because the refusal of a header would show it. */
function readToken(option: string, name: string, given: string | undefined): string | undefined {
  const token = given ?? variable(name)
  if (token === undefined || TOKEN.test(token)) return token
  throw new TypeError(`${WHERE}: ${given === undefined ? name : `option "${option}"`} holds characters that no token has`)
}

function readTimeout(option: number | undefined): number {
  const text = variable('MESHGUARD_TIMEOUT_MS')
  if (option === undefined && text !== undefined && !(Number(text) > 0 && Number.isFinite(Number(text)))) {
    throw new TypeError(`${WHERE}: MESHGUARD_TIMEOUT_MS must be a positive number of milliseconds`)
  }
  const timeoutMs = option ?? (text === undefined ? 30_000 : Number(text))
  assertMs(WHERE, 'timeoutMs', timeoutMs)
  return timeoutMs
}
