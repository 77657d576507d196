import { lstatSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { MeshGuardClient } from '@meshguard/client'
import type { Command } from 'commander'
import { CliError, systemCode } from './errors.js'

/** Where a gateway listens unless it is told otherwise. */
export const DEFAULT_GATEWAY = 'http://127.0.0.1:3100'

/** Options of every command. */
export interface GlobalOptions {
  readonly gateway?: string | undefined
  readonly adminToken?: string | undefined
  readonly json?: boolean | undefined
}

/** What a run of the command works with. */
export interface Run {
  /** Aborted by SIGINT and SIGTERM. */
  readonly signal: AbortSignal
  /** What the process ends with, unless there is an error. */
  exitCode: number
  /** It serves others, and goes on when what it prints cannot be written. Default: printing is what it is for. */
  serves?: boolean
}

/** The gateway that a command talks to, and how it prints. */
export interface Session {
  readonly json: boolean
  readonly client: MeshGuardClient
  /** Handed to every call, so that Ctrl-C ends it. */
  readonly call: { readonly signal: AbortSignal }
}

/** Where the gateway is. */
export function gatewayUrlOf({ gateway }: GlobalOptions): string {
  return gateway ?? (process.env['MESHGUARD_GATEWAY_URL']?.trim() || DEFAULT_GATEWAY)
}

/**
 * A client for the administration.
 *
 * @throws CliError for a bad URL, and when there is no admin token.
 */
export function openSession(command: Command, { signal }: Run): Session {
  const options: GlobalOptions = command.optsWithGlobals()
  const session = connect(options, signal)
  if (session.adminToken === undefined) {
    throw new CliError(
      'There is no admin token. The gateway made one on its first start: set MESHGUARD_ADMIN_TOKEN, or give --admin-token',
    )
  }
  return session
}

/** A client for what needs no admin token. */
export function openPlainSession(command: Command, { signal }: Run): Session {
  return connect(command.optsWithGlobals(), signal)
}

function connect(options: GlobalOptions, signal: AbortSignal): Session & { adminToken: string | undefined } {
  const adminToken = options.adminToken ?? (process.env['MESHGUARD_ADMIN_TOKEN']?.trim() || keptToken(options))
  try {
    const client = new MeshGuardClient({ gatewayUrl: gatewayUrlOf(options), adminToken, agentToken: undefined })
    return { client, adminToken, json: options.json === true, call: { signal } }
  } catch (error) {
    if (!(error instanceof TypeError)) throw error
    throw new CliError(inFlags(error.message))
  }
}

function inFlags(message: string): string {
  return message
    .replace('MeshGuardClient: ', '')
    .replace('option "gatewayUrl"', process.env['MESHGUARD_GATEWAY_URL'] ? '--gateway or MESHGUARD_GATEWAY_URL' : '--gateway')
    .replace('option "adminToken"', 'the admin token')
}

const NOT_MINE = 0o077

/**
 * The admin token that a gateway which was started here wrote to its data folder. It is sent to the default gateway alone, and
 * only if nobody but this user can have read or written the file: whoever can write it could have the token of another
 * gateway sent to theirs, and whoever names a gateway says which token is for it.
 */
function keptToken({ gateway }: GlobalOptions): string | undefined {
  if (gateway !== undefined || process.env['MESHGUARD_GATEWAY_URL']?.trim()) return undefined
  const file = join(process.env['DATA_DIR'] || '.meshguard', 'admin-token')
  try {
    const found = lstatSync(file)
    if (!found.isFile()) return undefined
    if (process.getuid !== undefined && (found.uid !== process.getuid() || (found.mode & NOT_MINE) !== 0)) {
      throw new CliError(`${file} can be read by others, so it is not used. Make it yours alone: chmod 600 ${file}`)
    }
    return readFileSync(file, 'utf8').trim() || undefined
  } catch (error) {
    if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR') return undefined
    if (error instanceof CliError) throw error
    throw new CliError(`${file} cannot be read (${systemCode(error) ?? error}). Set MESHGUARD_ADMIN_TOKEN instead`)
  }
}

/** Resolves when a run is to end. */
export function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}
