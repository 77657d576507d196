import { type Gateway, listIn, query } from './gateway.js'
import type { CallOptions } from './options.js'
import type { AgentQuery, AuditQuery } from './records.js'

const LARGEST_PAGE = 1000

/** A list of the administration, whole or up to `limit`, however many pages that takes. */
export async function inPages<T>(
  gateway: Gateway,
  path: string,
  member: string,
  { limit = Number.POSITIVE_INFINITY, ...filter }: AgentQuery | AuditQuery,
  options: CallOptions,
): Promise<T[]> {
  const items: T[] = []
  let cursor: string | undefined
  do {
    const size = Math.min(limit - items.length, LARGEST_PAGE)
    const asked = query({ ...filter, limit: size, cursor })
    const page = await gateway.operate('GET', path + asked, options)
    items.push(...listIn<T>(page, member))
    cursor = typeof page['nextCursor'] === 'string' ? page['nextCursor'] : undefined
  } while (cursor !== undefined && items.length < limit)
  return items
}
