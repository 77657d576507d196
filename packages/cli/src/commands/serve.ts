import { UnavailableError, ValidationError } from '@meshguard/core'
import type { Gateway, GatewayConfig, Listening } from '@meshguard/gateway'
import type { Command } from 'commander'
import { CliError, EXIT } from '../errors.js'
import { failToListen } from '../listen-error.js'
import { print, printFields, printJsonLine } from '../output.js'
import { aborted, type Run } from '../session.js'

/** The flags, and the variables of the environment that they go over. */
const VARIABLES = {
  port: 'PORT',
  host: 'HOST',
  mode: 'MODE',
  policies: 'POLICIES_DIR',
  database: 'DATABASE_URL',
  proxyTarget: 'PROXY_TARGET',
} as const

type Flags = Partial<Record<keyof typeof VARIABLES, string>>

/** `meshguard serve` */
export function addServe(program: Command, run: Run): void {
  program
    .command('serve')
    .description('run a gateway until Ctrl-C; what no flag says is read from the environment')
    .option('--port <port>', 'where it listens (PORT, default 3100; 0 is any free one)')
    .option('--host <host>', 'the address it listens on (HOST, default 127.0.0.1)')
    .option('--mode <mode>', 'enforce, audit or bypass (MODE)')
    .option('--policies <folder>', 'policy files, watched for changes (POLICIES_DIR)')
    .option('--database <url>', 'sqlite:<file> or postgres://… (DATABASE_URL)')
    .option('--proxy-target <url>', 'the API that /proxy/ leads to (PROXY_TARGET)')
    .action(async (flags: Flags, command: Command) => {
      const json = command.optsWithGlobals()['json'] === true
      const { createGateway, readConfig } = await import('@meshguard/gateway')
      const config = configOf(flags, readConfig)
      const gateway = await createGateway(config).catch(cannotStart)
      run.serves = true
      try {
        sayStarted(await listen(gateway, config), config, json)
        await aborted(run.signal)
        if (!json) print('Stopping.')
      } finally {
        await gateway.close()
      }
      run.exitCode = 0
    })
}

/** What keeps a gateway from starting is said in its own words, as its user can put it right; a defect keeps its stack. */
function cannotStart(error: unknown): never {
  if (error instanceof UnavailableError) throw new CliError(`The gateway cannot start: ${error.message}`, EXIT.unreachable)
  if (error instanceof Error && error.name === 'Error') throw new CliError(`The gateway cannot start: ${error.message}`)
  throw error
}

function configOf(flags: Flags, readConfig: (env: NodeJS.ProcessEnv) => GatewayConfig): GatewayConfig {
  const given = Object.entries(flags).map(([flag, value]) => [VARIABLES[flag as keyof Flags], value] as const)
  const { DB_PATH, ...env } = process.env
  const withPath = flags.database === undefined && DB_PATH !== undefined ? { ...env, DB_PATH } : env
  try {
    return readConfig({ ...withPath, ...Object.fromEntries(given) })
  } catch (error) {
    if (!(error instanceof ValidationError)) throw error
    const issues = error.issues.map(({ message, ...issue }) => ({ ...issue, message: inFlags(message, flags) }))
    throw new ValidationError(issues)
  }
}

/** `PORT: expected …` as `--port: expected …`, if that is where the value came from. */
function inFlags(message: string, flags: Flags): string {
  for (const [flag, variable] of Object.entries(VARIABLES)) {
    const isGiven = flags[flag as keyof Flags] !== undefined
    if (isGiven && message.startsWith(`${variable}:`)) return `${dashed(flag)}${message.slice(variable.length)}`
  }
  return message
}

function dashed(flag: string): string {
  return `--${flag.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`
}

function listen(gateway: Gateway, { port, host }: GatewayConfig): Promise<Listening> {
  return gateway.listen().catch((error: unknown) => failToListen(error, 'meshguard serve', port, host, 3100))
}

function sayStarted({ url }: Listening, config: GatewayConfig, json: boolean): void {
  const { mode, policiesDir, databaseUrl, proxy } = config
  const database = databaseUrl.replace(/^(postgres(?:ql)?:\/\/)[^/]*@/, '$1…@').replace(/\?.*$/s, '')
  if (json) {
    printJsonLine({ url, mode, policies: policiesDir, database, proxyTarget: proxy.target })
    return
  }
  print(`MeshGuard gateway listens on ${url}`)
  printFields({
    '  mode': mode,
    '  policies': policiesDir ?? 'those of the API alone; see meshguard policy apply',
    '  database': database,
    '  proxy': proxy.target === undefined ? 'none; see --proxy-target' : `${url}/proxy/ leads to ${proxy.target}`,
  })
  print('Ctrl-C stops it.')
}
