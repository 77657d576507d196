import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { CliError, systemCode } from './errors.js'
import { note } from './output.js'
import { secretIn } from './service-token.js'

/** How long the token of a file is used before it is read again, so that a new one counts without a restart. */
const READ_EVERY_MS = 5000

/**
 * Gives the token of the agent on this machine, if there is a file with one.
 *
 * @throws CliError for a file that cannot be read, and for an address that others can connect to: they would be taken for the agent.
 */
export async function ownTokenIn(flags: {
  readonly agentTokenFile?: string
  readonly host: string
}): Promise<(() => string | undefined) | undefined> {
  const { agentTokenFile: file, host } = flags
  if (file === undefined) return undefined
  if (!isLoopback(host)) {
    throw new CliError(
      `--agent-token-file is for a guardian on this machine alone, and --host ${host} lets others connect: leave one of them out`,
    )
  }
  let token = await secretIn(file)
  let readAt = performance.now()
  return () => {
    if (performance.now() - readAt < READ_EVERY_MS) return token
    readAt = performance.now()
    try {
      token = readFileSync(file, 'utf8').trim()
    } catch (error) {
      note(`${file} cannot be read (${systemCode(error) ?? error}); the token that was in it is used`)
    }
    return token
  }
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))
}
