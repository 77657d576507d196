import { mkdir } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { type BoundedSink, type BundleSource, ConnectionError, fromBundle, ValidationError } from '@meshguard/core'
import { auditThroughFolder, cacheInFile } from '@meshguard/core/node'
import type { Guardian } from '@meshguard/gateway/guardian'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { milliseconds } from '../arguments.js'
import { badKeyOf, type KeyOptions, keptKeysOf, PUBLIC_KEY_HELP } from '../bundle-keys.js'
import { CliError, systemCode } from '../errors.js'
import { failToListen } from '../listen-error.js'
import { note, print, printFields, printJsonLine } from '../output.js'
import { ownTokenIn } from '../own-token.js'
import { serviceTokenOf, type TokenOptions } from '../service-token.js'
import { aborted, gatewayUrlOf, type Run } from '../session.js'

interface GuardianFlags extends KeyOptions, TokenOptions {
  readonly port: number
  readonly host: string
  readonly mode: 'enforce' | 'audit'
  readonly cache: string
  readonly poll: number
  readonly maxStaleness: number
  readonly agentTokenFile?: string
  readonly auditFolder: string
  readonly audit: boolean
}

/** How long the start waits for a bundle. */
const START_MS = 3000

/** `meshguard guardian` */
export function addGuardian(program: Command, run: Run): void {
  program
    .command('guardian')
    .description('decide on this machine by the signed bundle of a gateway, until Ctrl-C: for programs in any language')
    .option('--port <port>', 'where it listens; 0 is any free one', port, 4000)
    .option('--host <host>', 'the address it listens on', '127.0.0.1')
    .option('--token-file <file>', 'a service token with the scopes bundle and audit:write (MESHGUARD_SERVICE_TOKEN)')
    .option('--public-key <file>', PUBLIC_KEY_HELP)
    .option('--cache <file>', 'keeps the last good bundle, to start from while the gateway is away', '.meshguard/bundle.jws')
    .option('--poll <time>', 'how often to ask for a newer bundle; a change wakes it sooner', milliseconds, 30_000)
    .option('--max-staleness <time>', 'how old the bundle may be that it decides by', milliseconds, 6 * 3_600_000)
    .option('--agent-token-file <file>', 'the token of the agent on this machine: for requests that bring none')
    .addOption(new Option('--mode <mode>', 'audit only records').choices(['enforce', 'audit']).default('enforce'))
    .option(
      '--audit-folder <folder>',
      'where decisions wait to be sent to the audit log of the gateway',
      '.meshguard/guardian-audit',
    )
    .option('--no-audit', 'do not send decisions to the audit log of the gateway')
    .action(async (flags: GuardianFlags, command: Command) => {
      const options = command.optsWithGlobals()
      const gateway = gatewayUrlOf(options)
      const { createGuardian } = await import('@meshguard/gateway/guardian')
      const token = await serviceTokenOf(flags, flags.audit ? 'bundle audit:write' : 'bundle')
      const ownToken = await ownTokenIn(flags)
      const source = await openSource(flags, gateway, token, run.signal)
      const audit = flags.audit ? openAudit(flags, gateway, token) : undefined
      run.serves = true
      const guardian = createGuardian({ source, audit, mode: flags.mode, ownToken })
      try {
        const url = await listen(guardian, flags)
        await firstBundle(source, gateway, flags)
        sayStarted(url, gateway, source, flags, options['json'] === true)
        await aborted(run.signal)
        if (options['json'] !== true) print('Stopping.')
      } finally {
        await guardian.close()
      }
      run.exitCode = 0
    })
}

function port(text: string): number {
  const number = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN
  if (number <= 65_535) return number
  throw new InvalidArgumentError('Expected a port number from 0 to 65535.')
}

async function openSource(flags: GuardianFlags, gateway: string, token: string, signal: AbortSignal): Promise<BundleSource> {
  const { cache, poll, maxStaleness } = flags
  try {
    await mkdir(dirname(resolve(cache)), { recursive: true, mode: 0o700 })
  } catch (error) {
    throw new CliError(`--cache: the folder of ${cache} cannot be made (${systemCode(error) ?? error})`)
  }
  const keys = await keptKeysOf(flags, gateway, `${cache}.keys`, signal)
  const settings = { token, stream: true, cache: cacheInFile(cache), pollMs: poll, maxStalenessMs: maxStaleness }
  try {
    return fromBundle({ url: gateway, ...keys, ...settings })
  } catch (error) {
    const told = badKeyOf(flags, error)
    if (!(told instanceof TypeError)) throw told
    throw new CliError(inFlags(told.message))
  }
}

function openAudit({ auditFolder }: GuardianFlags, url: string, token: string): BoundedSink {
  try {
    return auditThroughFolder(auditFolder, { url, token })
  } catch (error) {
    if (!(error instanceof TypeError)) throw error
    throw new CliError(`--audit-folder: ${error.message.replace('auditThroughFolder: ', '')}`)
  }
}

const FLAGS = {
  url: '--gateway',
  jwks: '--gateway',
  pollMs: '--poll',
  maxStalenessMs: '--max-staleness',
}

function inFlags(message: string): string {
  return message.replace('fromBundle: ', '').replace(/option "(\w+)/, (whole, name: keyof typeof FLAGS) => FLAGS[name] ?? whole)
}

async function listen(guardian: Guardian, { port, host }: GuardianFlags): Promise<string> {
  const listening = await guardian.listen(port, host).catch((error: unknown) => {
    return failToListen(error, 'meshguard guardian', port, host, 4000)
  })
  return listening.url
}

/**
 * Waits a moment for a bundle. One of the cache is enough, and a gateway that cannot be reached may come back.
 *
 * @throws CliError when the gateway answers and gives none.
 */
async function firstBundle(source: BundleSource, gateway: string, { publicKey }: KeyOptions): Promise<void> {
  const loading = source.refresh().then(
    () => undefined,
    (error: Error) => error,
  )
  const failed = await Promise.race([loading, pause(START_MS, undefined, { ref: false })])
  if (source.bundle !== undefined) return
  if (failed !== undefined && !(failed instanceof ConnectionError)) {
    const which = failed instanceof ValidationError && publicKey !== undefined ? '--public-key' : '--token-file'
    throw new CliError(`${failed.message}. Look at --gateway and ${which}`)
  }
  note(
    `There is no bundle yet: ${gateway} cannot be reached, and none is kept. Every request is answered 503 until there is one`,
  )
}

function sayStarted(url: string, gateway: string, source: BundleSource, flags: GuardianFlags, json: boolean): void {
  const { mode, cache, audit, agentTokenFile } = flags
  const bundle = source.bundle
  if (json) {
    printJsonLine({ url, gateway, mode, cache, audit, bundleVersion: bundle?.version ?? null })
    return
  }
  print(`MeshGuard guardian listens on ${url}`)
  printFields({
    '  gateway': gateway,
    '  mode': mode,
    '  bundle': bundle === undefined ? 'none yet' : `${bundle.version}, of ${new Date(bundle.issuedAt).toISOString()}`,
    '  cache': cache,
    '  audit': audit ? `sent to ${gateway}` : 'not sent',
    '  agent':
      agentTokenFile === undefined
        ? 'every request brings its own token'
        : `that of ${agentTokenFile}, unless a request brings a token`,
  })
  print('Ctrl-C stops it.')
}
