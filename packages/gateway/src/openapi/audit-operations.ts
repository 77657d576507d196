import { z } from 'zod'
import * as audit from '../admin/audit-schemas.js'
import type { Operation } from './operation.js'

const ofAudit = { tag: 'Audit', caller: 'auditReader', refusals: [400, 401, 403, 503] } as const

/** The audit log. */
export const AUDIT_OPERATIONS: readonly Operation[] = [
  {
    ...ofAudit,
    method: 'get',
    path: '/admin/audit',
    id: 'queryAudit',
    summary: 'Entries of the audit log, newest first',
    query: audit.auditQuery,
    answers: { 200: { description: 'A page of entries.', schema: audit.auditPage } },
  },
  {
    ...ofAudit,
    method: 'get',
    path: '/admin/audit/stats',
    id: 'auditStats',
    summary: 'How much was allowed and denied in a period',
    description: 'Of decisions; what operators changed is not counted.',
    query: audit.auditStatsQuery,
    answers: { 200: { description: 'The counts.', schema: audit.auditStats } },
  },
  {
    ...ofAudit,
    method: 'get',
    path: '/admin/audit/traces/{traceId}',
    id: 'auditTrace',
    summary: 'The entries of one trace, oldest first, in pages of at most 1000',
    query: audit.auditTraceQuery,
    answers: { 200: { description: 'The entries; none for a trace that nobody knows.', schema: audit.auditPage } },
  },
  {
    ...ofAudit,
    method: 'get',
    path: '/admin/audit/export',
    id: 'exportAudit',
    summary: 'The audit log as CSV or JSON lines, oldest first, streamed',
    query: audit.auditExportQuery,
    answers: {
      200: {
        description: "The entries. Cells that would be formulas begin with `'`.",
        types: ['application/jsonl', 'text/csv'],
      },
    },
  },
  {
    ...ofAudit,
    method: 'get',
    path: '/admin/audit/stream',
    id: 'streamAudit',
    summary: 'Entries as they are committed, as server-sent events',
    query: audit.auditStreamQuery,
    headers: z.object({
      'Last-Event-ID': z.string().optional().meta({ description: 'What was committed after this entry comes first.' }),
    }),
    answers: { 200: { description: '`id` is the id of an entry, `data` the entry.', types: ['text/event-stream'] } },
  },
  {
    ...ofAudit,
    method: 'get',
    path: '/admin/audit/verify',
    id: 'verifyAudit',
    summary: 'Whether an entry was changed, removed, moved or cut off',
    answers: { 200: { description: 'What was found.', schema: audit.auditVerification } },
  },
  {
    tag: 'Audit',
    caller: 'service',
    method: 'post',
    path: '/v1/audit',
    id: 'shipAudit',
    summary: 'Keep entries that a service recorded itself (scope `audit:write`)',
    description: 'Each id is kept once. At most 1000 entries and 1 MiB.',
    body: { schema: audit.shipment },
    answers: { 202: { description: 'They are kept.', schema: audit.shipped } },
    refusals: [400, 401, 403, 413, 415, 503],
  },
]
