const MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 }
const BYTES: Readonly<Record<string, number>> = {
  b: 1,
  kb: 1000,
  mb: 1000 ** 2,
  gb: 1000 ** 3,
  kib: 1024,
  mib: 1024 ** 2,
  gib: 1024 ** 3,
}

/**
 * A time span in ms: `90s`, `30m`, `24h`, `7d`, `2w`, `500ms`, or a number of seconds, as JWT libraries read `expiresIn`.
 *
 * @returns `undefined` for anything else, for nothing at all, and for what is no whole number of ms.
 */
export function parseDuration(value: unknown): number | undefined {
  if (typeof value === 'number') return positive(value * 1000)
  const [, amount, unit] = (typeof value === 'string' && /^(\d{1,9})(ms|[smhdw])?$/.exec(value)) || []
  return amount === undefined ? undefined : positive(Number(amount) * (MS[unit ?? 's'] as number))
}

/** A size in bytes: `10MiB`, `64KB` (1000), or a number of bytes. `undefined` for anything else. */
export function parseSize(text: string): number | undefined {
  const [, amount, unit] = /^(\d{1,15})([kmg]i?b|b)?$/.exec(text.toLowerCase()) ?? []
  return amount === undefined ? undefined : positive(Number(amount) * (BYTES[unit ?? 'b'] as number))
}

function positive(value: number): number | undefined {
  return Number.isSafeInteger(value) && value > 0 ? value : undefined
}
