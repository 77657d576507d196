import { stringify } from 'csv-stringify/sync'
import type { z } from 'zod'
import type { AuditEntry } from '../audit/audit-log.js'
import type { Services } from '../services.js'
import type { AuditFilter, Page } from '../store/store.js'
import type { auditExportQuery } from './audit-schemas.js'
import { streamed } from './streamed.js'

const PAGE = 1000

const TYPES = { csv: 'text/csv; charset=utf-8; header=present', jsonl: 'application/jsonl; charset=utf-8' } as const

/**
 * Answers the audit log, oldest first, a page at a time and only as fast as it is read. It ends with what was there when it
 * began. An error on the way breaks the connection off, so that half of a log never looks like all of it.
 *
 * @throws UnavailableError when not even the first page can be read.
 */
export async function exportAudit(services: Services, asked: z.output<typeof auditExportQuery>): Promise<Response> {
  const { audit, now } = services
  const { format, from, to = now() + 1 } = asked
  const filter: AuditFilter = { from, to, order: 'oldest', limit: PAGE }
  const first = await audit.query(filter)
  const write = format === 'csv' ? csvOf : jsonLinesOf

  async function* pages(): AsyncGenerator<string, void, undefined> {
    if (format === 'csv') yield stringify([[...COLUMNS, 'more']])
    let page: Page<AuditEntry> | undefined = first
    while (page !== undefined) {
      if (page.items.length > 0) yield write(page.items)
      const cursor: string | undefined = page.nextCursor
      page = cursor === undefined ? undefined : await audit.query({ ...filter, cursor })
    }
  }
  const headers = { 'content-type': TYPES[format], 'content-disposition': `attachment; filename="audit.${format}"` }
  return new Response(streamed(pages), { headers })
}

/** The columns of the CSV; what an entry has besides is JSON in the last one, `more`. */
const COLUMNS = [
  'id',
  'timestamp',
  'traceId',
  'agentId',
  'agentName',
  'trustTier',
  'action',
  'resource',
  'decision',
  'code',
  'policy',
  'rule',
  'reason',
  'mode',
  'source',
  'durationMs',
  'method',
  'route',
  'path',
  'ip',
  'metadata',
] as const

function jsonLinesOf(entries: readonly AuditEntry[]): string {
  return entries.map((entry) => `${JSON.stringify(entry)}\n`).join('')
}

/** A cell that a spreadsheet would take for a formula begins with an apostrophe. */
function csvOf(entries: readonly AuditEntry[]): string {
  return stringify(entries.map(rowOf), { escape_formulas: true })
}

function rowOf({ request, ...entry }: AuditEntry): unknown[] {
  const { method, route, path, ip, ...moreOfRequest } = request ?? ({} as NonNullable<typeof request>)
  const cells: Record<string, unknown> = { ...entry, method, route, path, ip }
  const more = Object.entries(entry).filter(([key]) => !(COLUMNS as readonly string[]).includes(key))
  if (Object.keys(moreOfRequest).length > 0) more.push(['request', moreOfRequest])
  return [...COLUMNS.map((column) => cellOf(cells[column])), more.length === 0 ? '' : JSON.stringify(Object.fromEntries(more))]
}

function cellOf(value: unknown): unknown {
  return typeof value === 'object' && value !== null ? JSON.stringify(value) : value
}
