import { isPattern, patternProblem } from '@meshguard/core/policy'
import { z } from 'zod'
import { agentId, duration, limit, opaque, timeInMs, traceId } from './common-schemas.js'

const filter = {
  decision: z.enum(['allow', 'deny']).optional(),
  agentId: agentId.optional(),
  action: z
    .string()
    .max(256)
    .refine(isPattern, { error: ({ input }) => patternProblem(input as string) })
    .optional()
    .meta({ description: 'An action, or a pattern with `*`.' }),
  traceId: traceId.optional(),
  policy: z.string().min(1).max(64).optional(),
}
const period = {
  from: timeInMs.optional().meta({ description: 'From this time on.' }),
  to: timeInMs.optional().meta({ description: 'Before this time.' }),
}

/** `GET /admin/audit` */
export const auditQuery = z.strictObject({ ...filter, ...period, limit: limit.optional(), cursor: opaque.optional() })

/** `GET /admin/audit/traces/:traceId` */
export const auditTraceQuery = z.strictObject({ limit: limit.optional(), cursor: opaque.optional() })

/** `GET /admin/audit/stream` */
export const auditStreamQuery = z.strictObject(filter)

/** What a stream leaves in. */
export type AuditStreamFilter = z.output<typeof auditStreamQuery>

/** `GET /admin/audit/export` */
export const auditExportQuery = z.strictObject({ ...period, format: z.enum(['csv', 'jsonl']).default('jsonl') })

/** `GET /admin/audit/stats` */
export const auditStatsQuery = z.strictObject({ period: z.string().max(16).default('24h') })

/** What `period` stands for, in ms. */
export const auditPeriod = z.object({ period: duration })

/** An entry. Members that are not named here are kept. */
const auditEntry = z
  .looseObject({
    id: z.string(),
    timestamp: z.string(),
    traceId: z.string(),
    agentId: z.string().optional(),
    agentName: z.string().optional(),
    trustTier: z.string().optional(),
    action: z.string(),
    resource: z.string().optional(),
    decision: z.enum(['allow', 'deny']),
    code: z.string().meta({ description: 'A change by an operator has `administered`, and `operator` says who it was.' }),
    policy: z.string().optional(),
    rule: z.string().optional(),
    reason: z.string().optional(),
    mode: z.string(),
    source: z.string(),
    durationMs: z.number().optional(),
    request: z
      .looseObject({
        method: z.string().optional(),
        route: z.string().optional(),
        path: z.string().optional(),
        ip: z.string().optional(),
      })
      .optional(),
    metadata: z.unknown().optional(),
  })
  .meta({ id: 'AuditEntry' })

export const auditPage = z
  .strictObject({ entries: z.array(auditEntry), nextCursor: z.string().optional() })
  .meta({ id: 'AuditPage' })

export const auditStats = z
  .strictObject({
    total: z.int(),
    allowed: z.int(),
    denied: z.int(),
    period: z.string(),
    topDenied: z.array(z.strictObject({ action: z.string(), count: z.int() })),
  })
  .meta({ id: 'AuditStats' })

export const auditVerification = z
  .strictObject({
    valid: z.boolean(),
    entries: z.int(),
    firstBad: z.strictObject({ id: z.string(), reason: z.string() }).optional(),
  })
  .meta({ id: 'AuditVerification' })

const CODES = [
  'allowed',
  'denied',
  'no_match',
  'rate_limited',
  'unmapped',
  'unauthenticated',
  'unavailable',
  'invalid_action',
  'bypassed',
] as const

/** An entry that another service recorded. It cannot pass for a change by an operator: it names none, and its codes are decisions'. */
const shippedEntry = z
  .looseObject({
    id: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._:-]{7,127}$/, 'expected 8 to 128 of A-Z a-z 0-9 . _ : -'),
    timestamp: z.iso.datetime({ offset: true, error: 'expected a time like 2026-01-31T12:00:00.000Z' }),
    traceId,
    agentId: agentId.optional(),
    agentName: z.string().optional(),
    trustTier: z.string().optional(),
    action: z.string().min(1),
    resource: z.string().optional(),
    decision: z.enum(['allow', 'deny']),
    code: z.enum(CODES),
    policy: z.string().optional(),
    rule: z.string().optional(),
    reason: z.string().optional(),
    mode: z.string(),
    source: z.string(),
    durationMs: z.number().optional(),
    request: z
      .looseObject({
        method: z.string(),
        route: z.string().optional(),
        path: z.string().optional(),
        ip: z.string().optional(),
      })
      .optional(),
    metadata: z.record(z.string(), z.unknown()).optional(),
    operator: z.never('only the gateway itself records what operators do').optional(),
  })
  .meta({ id: 'ShippedEntry' })

/** `POST /v1/audit` */
export const shipment = z.strictObject({ entries: z.array(shippedEntry) }).meta({ id: 'AuditShipment' })

export const shipped = z
  .strictObject({ accepted: z.int().meta({ description: 'How many were new.' }) })
  .meta({ id: 'AuditShipped' })
