import { readFileSync } from 'node:fs'
import { Command, CommanderError } from 'commander'
import { addAgent } from './commands/agent.js'
import { addAudit } from './commands/audit.js'
import { addBundle } from './commands/bundle.js'
import { addDelegation } from './commands/delegation.js'
import { addGuardian } from './commands/guardian.js'
import { addPolicy } from './commands/policy.js'
import { addServe } from './commands/serve.js'
import { addStatus } from './commands/status.js'
import { addToken } from './commands/token.js'
import { EXIT, tell } from './errors.js'
import { note } from './output.js'
import { DEFAULT_GATEWAY, gatewayUrlOf, type Run } from './session.js'

const HELP = `
Environment:
  MESHGUARD_GATEWAY_URL   where the gateway is (default: ${DEFAULT_GATEWAY})
  MESHGUARD_ADMIN_TOKEN   the admin token; better than --admin-token, which others on this machine can see.
                          Without either, .meshguard/admin-token is sent to the default gateway
  MESHGUARD_SERVICE_TOKEN a service token, for bundle pull and guardian
  NO_COLOR, FORCE_COLOR   never or always colour what is printed

Exit codes:
  0  done, or allowed
  1  denied, or a test failed
  2  wrong use, a bad file, or something the gateway refuses
  3  the gateway cannot be reached`

/** Every command, each writing its exit code into `run`. */
export function createProgram(run: Run): Command {
  const program = new Command('meshguard')
    .description('Run a MeshGuard gateway, manage its agents and policies, read its audit log')
    .version(versionOf(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print help')
    .option('--gateway <url>', 'where the gateway is')
    .option('--admin-token <token>', 'the admin token')
    .option('--json', 'print JSON')
    .configureHelp({ showGlobalOptions: true })
    .exitOverride()
    .addHelpText('after', HELP)
  for (const add of [addServe, addStatus, addAgent, addPolicy, addAudit, addToken, addDelegation, addBundle, addGuardian])
    add(program, run)
  pointToHelp(program, program.name())
  return program
}

/** A command that is used wrongly points to its own help. */
function pointToHelp(command: Command, words: string): void {
  command.showHelpAfterError(`See: ${words} --help`)
  for (const one of command.commands) pointToHelp(one, `${words} ${one.name()}`)
}

function versionOf(): string {
  return JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')).version
}

/** Runs a command line to its end. Whatever goes wrong is told on stderr and is in the exit code. */
export async function runProgram(args: readonly string[], run: Run): Promise<number> {
  const program = createProgram(run)
  try {
    await program.parseAsync(args, { from: 'user' })
    return run.exitCode
  } catch (error) {
    if (run.signal.aborted) return run.exitCode
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.done : EXIT.usage
    const options = program.opts()
    const { exitCode, code, message, issues } = tell(error, gatewayUrlOf(options))
    if (options['json'] === true) process.stderr.write(`${JSON.stringify({ error: code, message, issues })}\n`)
    else note(message)
    return exitCode
  }
}
