import { assertMs } from '../options.js'

/** 24 h: how long a token lives, and may live, unless it is said otherwise. */
export const DAY_MS = 86_400_000
/** The longest token, in bytes. */
export const MAX_TOKEN = 8192

/** The `iss` of tokens. @throws TypeError unless it is a string that is not empty. */
export function issuerOf(where: string, issuer: unknown = 'meshguard'): string {
  if (isText(issuer)) return issuer
  throw new TypeError(`${where}: option "issuer" must be a string that is not empty`)
}

/** The `aud` of tokens, as a list. @throws TypeError unless it is a string, or a list of strings, that is not empty. */
export function audienceOf(where: string, audience: unknown): string[] | undefined {
  if (audience === undefined) return undefined
  const list: unknown = isText(audience) ? [audience] : audience
  if (Array.isArray(list) && list.length > 0 && list.every(isText)) return [...list]
  throw new TypeError(`${where}: option "audience" must be a string, or a list of strings, that is not empty`)
}

/** A time span in seconds. @throws TypeError naming the option unless it is a positive number of ms. */
export function secondsOf(where: string, name: string, ms: number = DAY_MS): number {
  assertMs(where, name, ms)
  return ms / 1000
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== ''
}
