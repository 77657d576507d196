import { readFile, stat } from 'node:fs/promises'
import { generateKeys } from '@meshguard/core'
import type { JWK } from 'jose'
import { z } from 'zod'
import { assertPrivate, writePrivateFile } from './private-file.js'

const coordinate = z.string().regex(/^[\w-]{43}$/)
const publicJwk = z.object({
  kty: z.literal('OKP'),
  crv: z.literal('Ed25519'),
  x: coordinate,
  kid: z.string().min(1).max(128),
  alg: z.literal('EdDSA'),
  use: z.literal('sig'),
})
const privateJwk = publicJwk.extend({ d: coordinate })
const fileSchema = z.strictObject({
  version: z.literal(1),
  /** Signs agents' tokens. */
  token: privateJwk,
  /** Keys that signed tokens before, without their private half; `until` is in ms since the epoch. */
  retired: z.array(z.strictObject({ key: publicJwk, until: z.int() })),
  /** Signs the heads of audit chains. */
  checkpoint: privateJwk,
  /** Signs bundles. A file of a release that signed none has none yet. */
  bundle: privateJwk.optional(),
  /** As `retired`, for bundles. */
  retiredBundles: z.array(z.strictObject({ key: publicJwk, until: z.int() })).optional(),
})

/** What is in `SIGNING_KEY_FILE`. */
export type KeyFile = { [K in keyof FoundFile]-?: Exclude<FoundFile[K], undefined> }
type FoundFile = z.infer<typeof fileSchema>

/**
 * Reads the keys, or makes them when there is no such file. Two gateways that start at once end up with the same keys.
 *
 * @throws Error that names the file: it can be used by others, or is not a key file. It is never overwritten then.
 */
export async function openKeyFile(file: string, warn: (message: string) => void): Promise<KeyFile> {
  const found = await readKeyFile(file, warn)
  if (found !== undefined) return completed(file, found, warn)
  const keys = { token: await newKey(), checkpoint: await newKey(), bundle: await newKey() }
  const made: KeyFile = { version: 1, ...keys, retired: [], retiredBundles: [] }
  if (await writePrivateFile(file, textOf(made), 'create')) return made
  return completed(file, (await readKeyFile(file, warn)) ?? fail(file, 'was there and is gone again'), warn)
}

/** A file of a release without bundles gets the key that signs them. */
async function completed(file: string, found: FoundFile, warn: (message: string) => void): Promise<KeyFile> {
  const { bundle, retiredBundles = [] } = found
  if (bundle !== undefined) return { ...found, bundle, retiredBundles }
  await writePrivateFile(file, textOf({ ...found, bundle: await newKey(), retiredBundles }), 'replace').catch(
    (error: Error) => {
      fail(file, `has no key for bundles yet, and none can be added: ${error.message}`)
    },
  )
  // Where several gateways did this at once, the last one's key is the one that all of them use.
  const { bundle: kept, ...rest } = (await readKeyFile(file, warn)) ?? fail(file, 'was there and is gone again')
  return { ...rest, bundle: kept ?? fail(file, 'was replaced by an older one'), retiredBundles }
}

/** Changes with the file. `undefined` where it cannot be looked at. */
export async function stampOf(file: string): Promise<string | undefined> {
  const found = await stat(file).catch(() => undefined)
  return found && [found.ino, found.size, found.mtimeMs].join()
}

/** What a key signs. */
export type KeyKind = 'token' | 'bundle'

/**
 * A file with a new key. The one before stays in it, without its private half, for as long as what it signed may live.
 *
 * @param lifeMs The longest life of that.
 */
export async function rotateKeyFile(file: string, keys: KeyFile, now: number, kind: KeyKind, lifeMs: number): Promise<KeyFile> {
  const list = kind === 'token' ? 'retired' : 'retiredBundles'
  const { d: _, ...retiring } = keys[kind]
  const retired = [
    { key: retiring, until: now + lifeMs + CLOCK_TOLERANCE_MS },
    ...keys[list].filter(({ until }) => until > now),
  ]
  const rotated: KeyFile = { ...keys, [kind]: await newKey(), [list]: retired }
  await writePrivateFile(file, textOf(rotated), 'replace')
  return rotated
}

const CLOCK_TOLERANCE_MS = 10_000

async function readKeyFile(file: string, warn: (message: string) => void): Promise<FoundFile | undefined> {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    return fail(file, `cannot be read: ${(error as Error).message}`)
  }
  await assertPrivate(file, warn)
  const parsed = fileSchema.safeParse(jsonOf(text))
  if (parsed.success) return parsed.data
  return fail(
    file,
    'does not hold the keys of a gateway. Put the right file there, or take this one away and new keys are made',
  )
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function textOf(keys: KeyFile): string {
  return `${JSON.stringify(keys, null, 2)}\n`
}

async function newKey(): Promise<z.infer<typeof privateJwk>> {
  const { privateKey } = await generateKeys()
  return privateJwk.parse(privateKey satisfies JWK)
}

function fail(file: string, why: string): never {
  throw new Error(`SIGNING_KEY_FILE: ${file} ${why}`)
}
