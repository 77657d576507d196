import { badRequest } from '../http/errors.js'
import type { Page } from './store.js'

/** Where the next page begins: the sort key of the last item of this one, so that rows added meanwhile shift nothing. */
export type Position = readonly (string | number)[]

/** An opaque cursor: JSON in base64url. It holds no secret, and whatever it says only moves where a page begins. */
function encodeCursor(position: Position): string {
  return Buffer.from(JSON.stringify(position)).toString('base64url')
}

/**
 * The position behind a cursor.
 *
 * @param like A position of that list, for the types of its members.
 * @throws RequestError 400 for anything that `encodeCursor` did not make for such a list.
 */
export function decodeCursor<T extends Position>(cursor: string, like: T): T {
  const position = parsed(cursor)
  const fits =
    Array.isArray(position) &&
    position.length === like.length &&
    position.every((member, i) => typeof member === typeof like[i]) &&
    encodeCursor(position) === cursor
  if (!fits)
    throw badRequest('The cursor is none of this list', [{ path: 'cursor', message: 'use nextCursor as it was answered' }])
  return position as unknown as T
}

function parsed(cursor: string): unknown {
  try {
    return JSON.parse(Buffer.from(cursor, 'base64url').toString())
  } catch {
    return undefined
  }
}

/** How many items a page may have. @throws RequestError 400 unless it is a whole number from 1 to 1 000. */
export function pageSize(limit: number | undefined, otherwise: number): number {
  if (limit === undefined) return otherwise
  if (Number.isInteger(limit) && limit >= 1 && limit <= 1000) return limit
  throw badRequest('The limit must be a whole number from 1 to 1000', [{ path: 'limit', message: 'from 1 to 1000' }])
}

/**
 * The page of what was found.
 *
 * @param found One more than the page may have, where there is more.
 * @param positionOf Where the next page begins, behind the last item of this one.
 */
export function pageOf<T>(found: readonly T[], size: number, positionOf: (last: T) => Position): Page<T> {
  const items = found.slice(0, size)
  const last = items.at(-1)
  if (found.length <= size || last === undefined) return { items }
  return { items, nextCursor: encodeCursor(positionOf(last)) }
}
