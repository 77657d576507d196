import { readFile } from 'node:fs/promises'
import { CliError, systemCode } from './errors.js'

/** Of commands that use a service token. */
export interface TokenOptions {
  readonly tokenFile?: string | undefined
}

/**
 * The service token: from a file, or from `MESHGUARD_SERVICE_TOKEN`. It is no option itself, as others on the machine can see those.
 *
 * @param scopes What it is needed for, in words.
 * @throws CliError that says how to give one.
 */
export async function serviceTokenOf({ tokenFile }: TokenOptions, scopes: string): Promise<string> {
  const token = tokenFile === undefined ? process.env['MESHGUARD_SERVICE_TOKEN']?.trim() : await secretIn(tokenFile)
  if (token === undefined || token === '') {
    throw new CliError(
      `There is no service token. Make one with: meshguard token create <name> --scopes ${scopes} --output <file>, and give --token-file <file> or set MESHGUARD_SERVICE_TOKEN`,
    )
  }
  if (/^msvc_[A-Za-z0-9_-]{1,500}$/.test(token)) return token
  throw new CliError(`${tokenFile ?? 'MESHGUARD_SERVICE_TOKEN'} holds no service token (msvc_…)`)
}

/** What stands in a file of one line. @throws CliError when it cannot be read. */
export async function secretIn(file: string): Promise<string> {
  try {
    return (await readFile(file, 'utf8')).trim()
  } catch (error) {
    throw unreadable(file, error)
  }
}

/** @returns the error for a file that cannot be read. */
export function unreadable(file: string, error: unknown): CliError {
  const code = systemCode(error)
  return new CliError(`${file}: ${code === 'ENOENT' ? 'no such file' : `cannot be read (${code ?? error})`}`)
}
