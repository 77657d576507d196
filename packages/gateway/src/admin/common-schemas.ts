import type { TrustTier } from '@meshguard/core'
import { isTraceId } from '@meshguard/core/http'
import { isPattern, parseTier, patternProblem, TIER_SPELLINGS, TRUST_TIERS } from '@meshguard/core/policy'
import { z } from 'zod'
import { parseDuration } from '../units.js'

/**
 * What the requests and answers of the administration are made of. The schemas validate, and `/openapi.json` is generated from
 * them.
 */

/** A tier in an answer. */
export const trustTier = z.enum(TRUST_TIERS as [TrustTier, ...TrustTier[]]).meta({ id: 'TrustTier' })

/** A tier in a request, in any accepted spelling. */
export const tierSpelling = z
  .enum(TIER_SPELLINGS as [string, ...string[]])
  .transform((spelling) => parseTier(spelling) as TrustTier)
  .meta({
    id: 'TierSpelling',
    description: '`untrusted`, `anonymous`, `sandboxed` stand for `unverified`, `basic` for `verified`.',
  })

/** The id of an agent. */
export const agentId = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$/, 'expected an agent id: letters, digits and . _ : @ -')
  .meta({ examples: ['agent_5f2c8a90b1d34e6f'] })

/** A name for people: 1 to 128 characters, none of which controls anything. */
export const name = z
  .string()
  .regex(/^[^\p{Cc}\p{Zl}\p{Zp}]{1,128}$/u, 'expected 1 to 128 characters without control characters')

/** At most 64 tags of 64 characters, each once. */
export const tags = z
  .array(z.string().regex(/^[^\p{Cc}\p{Zl}\p{Zp}]{1,64}$/u, 'expected 1 to 64 characters without control characters'))
  .max(64)
  .transform((given) => [...new Set(given)])

/** A pattern of actions. */
export const pattern = z
  .string()
  .max(256)
  .refine(isPattern, { error: ({ input }) => patternProblem(input as string) })

/** Something only this gateway reads, like a cursor or a token's id. */
export const opaque = z.string().min(1).max(512)

export const traceId = z.string().refine(isTraceId, 'expected 8 to 128 of A-Z a-z 0-9 . _ : -')

/** A time in an answer. */
export const time = z.iso.datetime()

/** A time in a request, in ms. */
export const timeInMs = z
  .union([z.iso.datetime({ offset: true }), z.iso.date()], { error: 'expected a time like 2026-01-31T12:00:00Z, or a date' })
  .transform((text) => Date.parse(text))

const MAX_DURATION_MS = 3650 * 86_400_000

/** A time span, in ms, of at most ten years. */
export const duration = z
  .union([z.string().max(16), z.number()])
  .transform((given, context) => {
    const ms = parseDuration(given)
    if (ms !== undefined && ms <= MAX_DURATION_MS) return ms
    const message = 'expected a time like 15m, 24h or 7d, or a number of seconds, of at most 3650d'
    context.issues.push({ code: 'custom', message, input: given })
    return z.NEVER
  })
  .meta({ examples: ['24h'] })

/** How many a page may have, in a query. */
export const limit = z.preprocess(
  (text) => (typeof text === 'string' && /^\d{1,6}$/.test(text) ? Number(text) : text),
  z
    .int('expected a whole number from 1 to 1000')
    .min(1, 'expected a whole number from 1 to 1000')
    .max(1000, 'expected a whole number from 1 to 1000'),
)

/** Says what a number of ms since the epoch is in an answer. */
export function isoTime(ms: number): string {
  return new Date(ms).toISOString()
}
