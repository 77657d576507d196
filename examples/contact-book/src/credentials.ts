import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { MeshGuardClient } from '@meshguard/client'

/** What the contact book calls the gateway with: each a service token that may do one thing. */
export interface Credentials {
  /** Registers agents and reads the audit log. */
  readonly operator: string
  /** Asks for decisions. */
  readonly decide: string
}

/** Makes the service tokens and keeps them where only this user can read them, for the next start. */
export async function makeCredentials(admin: MeshGuardClient, dataDir: string): Promise<Credentials> {
  const [operator, decide] = [
    await admin.createToken({ name: 'contact-book-operator', scopes: ['admin', 'audit:read'] }),
    await admin.createToken({ name: 'contact-book', scopes: ['decide'] }),
  ]
  const credentials = { operator: operator.token, decide: decide.token }
  await writeFile(fileIn(dataDir), JSON.stringify(credentials), { mode: 0o600, flag: 'wx' })
  return credentials
}

/** The service tokens of an earlier start; `undefined` if there was none. */
export async function keptCredentials(dataDir: string): Promise<Credentials | undefined> {
  try {
    return JSON.parse(await readFile(fileIn(dataDir), 'utf8')) as Credentials
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

const fileIn = (dataDir: string) => join(dataDir, 'contact-book.json')
