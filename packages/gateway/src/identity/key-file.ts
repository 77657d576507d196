import { readFile } from 'node:fs/promises'
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
})

/** What is in `SIGNING_KEY_FILE`. */
export type KeyFile = z.infer<typeof fileSchema>

/**
 * Reads the keys, or makes them when there is no such file. Two gateways that start at once end up with the same keys.
 *
 * @throws Error that names the file: it can be used by others, or is not a key file. It is never overwritten then.
 */
export async function openKeyFile(file: string, warn: (message: string) => void): Promise<KeyFile> {
  const found = await readKeyFile(file, warn)
  if (found !== undefined) return found
  const made: KeyFile = { version: 1, token: await newKey(), retired: [], checkpoint: await newKey() }
  if (await writePrivateFile(file, textOf(made), 'create')) return made
  return (await readKeyFile(file, warn)) ?? fail(file, 'was there and is gone again')
}

/** A file with a new token key. The one before stays in it, without its private half, for as long as its tokens may live. */
export async function rotateKeyFile(file: string, keys: KeyFile, now: number, maxTokenAgeMs: number): Promise<KeyFile> {
  const { d: _, ...retiring } = keys.token
  const retired = [
    { key: retiring, until: now + maxTokenAgeMs + CLOCK_TOLERANCE_MS },
    ...keys.retired.filter(({ until }) => until > now),
  ]
  const rotated: KeyFile = { ...keys, token: await newKey(), retired }
  await writePrivateFile(file, textOf(rotated), 'replace')
  return rotated
}

const CLOCK_TOLERANCE_MS = 10_000

async function readKeyFile(file: string, warn: (message: string) => void): Promise<KeyFile | undefined> {
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
