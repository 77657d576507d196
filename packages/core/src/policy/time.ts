/** Dates that conditions compare, and the clock of `time` conditions. */

const MINUTE_MS = 60_000
const MINUTES_A_DAY = 1440
const MAX_DATE_MS = 8.64e15
const MAX_DATE_LENGTH = 40

/** The days in the order of `Date.getUTCDay`. */
export const DAYS: readonly string[] = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat']

const DATE = /^(\d{4}-\d\d-\d\d)(?:[Tt]((?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d)(\.\d+)?([Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d))?$/

/**
 * The moment that a date stands for, in ms since the epoch: `YYYY-MM-DD` (midnight UTC) or RFC 3339 with `Z` or an offset.
 * `undefined` for anything else, leap seconds included, and for days that the month does not have, of which engines disagree
 * what `Date.parse` makes.
 */
export function dateOf(text: string): number | undefined {
  const [, day, time = '00:00:00', fraction = '0', zone = 'Z'] = (text.length <= MAX_DATE_LENGTH && DATE.exec(text)) || []
  const midnight = Date.parse(`${day}T00:00:00Z`)
  if (day === undefined || Number.isNaN(midnight) || new Date(midnight).toISOString().slice(0, 10) !== day) return undefined
  return Date.parse(`${day}T${time}${zone.toUpperCase()}`) + Number(fraction) * 1000
}

/** When a `time` condition holds. */
export interface TimeRange {
  /** Minutes after midnight, the first that is in; absent: all day. */
  readonly from?: number | undefined
  /** Minutes after midnight, the first that is out. Before `from` in a range that crosses midnight. */
  readonly to?: number | undefined
  /** 0 is Sunday; absent: every day. */
  readonly days?: readonly number[] | undefined
  readonly timezone: string
}

const RANGE = /^([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)$/

/** Reads `09:00-18:00`; `undefined` if it is something else, or begins when it ends. */
export function rangeOf(text: string): { from: number; to: number } | undefined {
  const [, h1, m1, h2, m2] = RANGE.exec(text)?.map(Number) ?? []
  const [from, to] = [Number(h1) * 60 + Number(m1), Number(h2) * 60 + Number(m2)]
  return from >= 0 && from !== to ? { from, to } : undefined
}

/** Tells the local time as minutes since the beginning of Sunday, or `undefined` if `now` is no time. */
type Clock = (now: number) => number | undefined

/** Whether a time of the week is in a range. The part after midnight belongs to the day the range began on. */
export function inRange(range: TimeRange, minuteOfWeek: number): boolean {
  const minute = minuteOfWeek % MINUTES_A_DAY
  let day = Math.floor(minuteOfWeek / MINUTES_A_DAY)
  const { from, to, days } = range
  if (from !== undefined && to !== undefined) {
    const isIn = from < to ? minute >= from && minute < to : minute >= from || minute < to
    if (!isIn) return false
    if (from > to && minute < to) day = (day + 6) % 7
  }
  return days === undefined || days.includes(day)
}

const clocks = new Map<string, Clock | null>()

/**
 * The clock of a time zone, or `undefined` for a name that is none. Offsets (`+02:00`) are no names: not every runtime
 * knows them. Made once per zone; the zones are written by authors of policies, never by callers.
 */
export function clockOf(timezone: string): Clock | undefined {
  let clock = clocks.get(timezone)
  if (clock === undefined) {
    clock = zoneClock(timezone)
    clocks.set(timezone, clock)
  }
  return clock ?? undefined
}

function zoneClock(timezone: string): Clock | null {
  const format = /^[A-Za-z]/.test(timezone) ? formatOf(timezone) : undefined
  if (format === undefined) return null
  let lastMinute = Number.NaN
  let last = 0
  return (now) => {
    if (!(Math.abs(now) <= MAX_DATE_MS)) return undefined
    const minute = Math.floor(now / MINUTE_MS)
    if (minute !== lastMinute) {
      last = minuteOfWeek(format.formatToParts(now))
      lastMinute = minute
    }
    return last
  }
}

function formatOf(timeZone: string): Intl.DateTimeFormat | undefined {
  try {
    return new Intl.DateTimeFormat('en-US', {
      timeZone,
      weekday: 'short',
      hour: '2-digit',
      minute: '2-digit',
      hourCycle: 'h23',
    })
  } catch (error) {
    if (error instanceof RangeError) return undefined
    throw error
  }
}

function minuteOfWeek(parts: readonly Intl.DateTimeFormatPart[]): number {
  const part = (type: string) => parts.find((one) => one.type === type)?.value ?? ''
  const day = DAYS.indexOf(part('weekday').toLowerCase())
  return day * MINUTES_A_DAY + Number(part('hour')) * 60 + Number(part('minute'))
}
