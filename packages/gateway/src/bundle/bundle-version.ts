import type { SettingsStore } from '../store/store.js'

/** What is kept of the newest bundle: every replica whose bundle says the same serves the same bytes. */
export interface BundleRecord {
  readonly version: number
  /** SHA-256 of what it says and of the name of its key. */
  readonly digest: string
  /** Milliseconds since the epoch. */
  readonly issuedAt: number
}

const SETTING = 'bundle'
/** A bundle is signed anew when it is so old. */
export const RENEW_MS = 3_600_000
/** How far the clock of another replica may be ahead. */
const CLOCK_SKEW_MS = 60_000
const ATTEMPTS = 20

/**
 * The version and time of a bundle. The version only ever grows, whichever replica asks and however often it was restarted; it
 * is at least the time in seconds, so that it does not go back either when the database is restored from a backup.
 *
 * @param digestOf What the bundle says *now*: asked after the record was read, and again when another replica has changed it
 * meanwhile, so that no version is given to a state that is older than the one of a smaller version.
 * @throws UnavailableError of the store; Error when the record is none.
 */
export async function nextVersion(
  settings: SettingsStore,
  digestOf: () => Promise<string>,
  now: () => number,
): Promise<BundleRecord> {
  for (let i = 0; i < ATTEMPTS; i++) {
    const kept = await settings.get(SETTING)
    const before = kept === undefined ? undefined : readRecord(kept)
    const record = following(before, await digestOf(), now())
    if (record === before || (await settings.swap(SETTING, kept, JSON.stringify(record)))) return record
  }
  throw new Error(`The version of the bundle could not be raised in ${ATTEMPTS} attempts`)
}

function following(before: BundleRecord | undefined, digest: string, now: number): BundleRecord {
  const isSame = before?.digest === digest && before.issuedAt <= now + CLOCK_SKEW_MS
  if (before !== undefined && isSame && now < before.issuedAt + RENEW_MS) return before
  if (before !== undefined && isSame) return { version: before.version, digest, issuedAt: now }
  return { version: Math.max((before?.version ?? 0) + 1, Math.floor(now / 1000)), digest, issuedAt: now }
}

function readRecord(text: string): BundleRecord {
  const { version, digest, issuedAt } = JSON.parse(text) as BundleRecord
  if (Number.isSafeInteger(version) && typeof digest === 'string' && Number.isSafeInteger(issuedAt)) {
    return { version, digest, issuedAt }
  }
  throw new Error(`The setting "${SETTING}" in the database is not the record of a bundle`)
}
