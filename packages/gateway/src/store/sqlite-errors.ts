import { UnavailableError } from '@meshguard/core'
import { conflict, RequestError } from '../http/errors.js'

/** What an operator can do about it, by SQLite's result code (https://www.sqlite.org/rescode.html). */
const WORDS: ReadonlyArray<readonly [code: RegExp, message: string]> = [
  [/^SQLITE_(BUSY|LOCKED)/, 'The database is locked by another process'],
  [/^SQLITE_FULL/, 'The database cannot grow: its disk is full'],
  [/^SQLITE_(CORRUPT|NOTADB)/, 'The database is damaged: restore a backup'],
  [/^SQLITE_(READONLY|PERM|AUTH)/, 'The database may not be written: look at the permissions of the file and its folder'],
  [/^SQLITE_CANTOPEN/, 'The database cannot be opened: look at the path and the permissions of its folder'],
]

/** After these a connection may go on failing when the cause has gone. */
const BROKEN = /^SQLITE_(CORRUPT|NOTADB|IOERR|CANTOPEN|READONLY|PROTOCOL|MISUSE)/

/**
 * The error that a caller of the store sees: `UnavailableError`, or a `RequestError` 409 where a row would break a constraint.
 * What is one of those already stays itself.
 */
export function failureOf(error: unknown): Error {
  if (error instanceof UnavailableError || error instanceof RequestError) return error
  const code = codeOf(error)
  if (/^SQLITE_CONSTRAINT_(UNIQUE|PRIMARYKEY)/.test(code)) return conflict('There is one of this name or ID already')
  if (/^SQLITE_CONSTRAINT_FOREIGNKEY/.test(code)) return conflict('It refers to something that does not exist')
  const words = WORDS.find(([pattern]) => pattern.test(code))?.[1] ?? 'The database cannot be used'
  return new UnavailableError(words, { cause: error })
}

/** Whether the same may work in a moment. */
export function isLocked(error: unknown): boolean {
  return /^SQLITE_(BUSY|LOCKED)/.test(codeOf(error))
}

/** Whether the connection is to be replaced. */
export function isBroken(error: unknown): boolean {
  return BROKEN.test(codeOf(error instanceof UnavailableError ? error.cause : error))
}

function codeOf(error: unknown): string {
  const code: unknown = error instanceof Error ? Reflect.get(error, 'code') : undefined
  return typeof code === 'string' ? code : ''
}
