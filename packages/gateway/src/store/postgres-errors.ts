import { UnavailableError } from '@meshguard/core'
import { badRequest, conflict, RequestError } from '../http/errors.js'

/** What an operator can do about it, by SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html) or system error. */
const WORDS: ReadonlyArray<readonly [code: RegExp, message: string]> = [
  [/^(57014|55P03|40)/, 'The database is busy: a statement or a lock took too long'],
  [/^53100/, 'The database cannot grow: its disk is full'],
  [/^53300/, 'The database takes no more connections: raise its max_connections, or run fewer gateways'],
  [/^57P0/, 'The database is starting up or shutting down'],
  [/^(25006|42501)/, 'The database may not be written: it is a standby, or the user lacks the permission'],
  [/^28/, 'The database refuses the user or its password'],
  [/^(3D|3F)/, 'The database, or its schema, is not there'],
  [/^(XX00[12])/, 'The database is damaged: restore a backup'],
  [/^(E[A-Z]+|08)/, 'The database is not reachable'],
]

/**
 * The error that a caller of the store sees: `UnavailableError`; a `RequestError` 409 where a row would break a constraint, 400
 * where a value is none that PostgreSQL can hold. What is one of those already stays itself.
 */
export function failureOf(error: unknown): Error {
  if (error instanceof UnavailableError || error instanceof RequestError) return error
  const code = codeOf(error)
  if (code === '23505') return conflict('There is one of this name or ID already')
  if (code === '23503') return conflict('It refers to something that does not exist')
  if (/^22/.test(code)) return badRequest('A value holds what the database cannot')
  const words = WORDS.find(([pattern]) => pattern.test(code))?.[1] ?? 'The database cannot be used'
  return new UnavailableError(words, { cause: error })
}

/** Whether the connection is to be replaced: after anything that is no answer of the server, and when it shuts down. */
export function isBroken(error: unknown): boolean {
  return !/^[0-9A-Z]{5}$/.test(codeOf(error)) || /^(08|57P0|25P03)/.test(codeOf(error)) || codeOf(error) === 'EPIPE'
}

/** The SQLSTATE, or the code of the system's error. */
export function codeOf(error: unknown): string {
  const code: unknown = error instanceof Error ? Reflect.get(error, 'code') : undefined
  return typeof code === 'string' ? code : ''
}
