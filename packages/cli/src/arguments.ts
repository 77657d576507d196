/** What arguments may be, checked when they are read, so that a wrong one is named before anything is done. */
import type { TrustTier } from '@meshguard/core'
import { TIER_SPELLINGS } from '@meshguard/core/policy'
import { InvalidArgumentError, Option } from 'commander'

/** A whole number from `least` on. */
export function wholeNumber(least: number): (text: string) => number {
  return (text) => {
    const number = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN
    if (number >= least) return number
    throw new InvalidArgumentError(`Expected a whole number from ${least} on.`)
  }
}

const UNIT_MS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** How long: `30s`, `5m`, `6h`, `1d`. */
export function milliseconds(text: string): number {
  const [, count, unit = ''] = /^(\d{1,6})([smhd])$/.exec(text) ?? []
  const ms = Number(count) * (UNIT_MS[unit] ?? Number.NaN)
  if (ms > 0) return ms
  throw new InvalidArgumentError('Expected a time like 30s, 5m, 6h or 1d.')
}

/** `sales,production`. */
export function list(text: string): string[] {
  return text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
}

/** A JSON object. */
export function jsonObject(text: string): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw new InvalidArgumentError(`Expected JSON: ${error instanceof Error ? error.message : error}.`)
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>
  throw new InvalidArgumentError('Expected a JSON object, like \'{"amount": 100}\'.')
}

/** A date, or how long ago: `2026-01-31`, `2026-01-31T09:00:00Z`, `24h`. */
export function moment(text: string): Date {
  const [, count, unit = ''] = /^(\d{1,6})([smhd])$/.exec(text) ?? []
  const date = count === undefined ? dateOf(text) : new Date(Date.now() - Number(count) * (UNIT_MS[unit] ?? Number.NaN))
  if (date !== undefined && !Number.isNaN(date.getTime())) return date
  throw new InvalidArgumentError('Expected a date like 2026-01-31 or 2026-01-31T09:00:00Z, or how long ago, like 24h.')
}

function dateOf(text: string): Date | undefined {
  return /^\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d))?$/.test(text) ? new Date(text) : undefined
}

/** `--trust <tier>`. */
export function trustOption(description: string): Option {
  return new Option('--trust <tier>', description).choices(TIER_SPELLINGS)
}

export type { TrustTier }
