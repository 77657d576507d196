import { readFile } from 'node:fs/promises'
import { UnavailableError, ValidationError } from '@meshguard/client'
import { type VerifiedBundle, type VerifyBundleOptions, verifyBundle } from '@meshguard/core/bundle'
import type { Command } from 'commander'
import { milliseconds, wholeNumber } from '../arguments.js'
import { badKeyOf, bundleKeysOf, type KeyOptions, PUBLIC_KEY_HELP } from '../bundle-keys.js'
import { CliError, EXIT } from '../errors.js'
import { requestOf, textOf } from '../gateway-request.js'
import { colour, plain, print, printFields, printJson, printTable } from '../output.js'
import { serviceTokenOf, type TokenOptions, unreadable } from '../service-token.js'
import { gatewayUrlOf, type Run } from '../session.js'
import { writeWholeFile } from '../whole-file.js'

type VerifyOptions = KeyOptions & Pick<VerifyBundleOptions, 'minVersion'> & { readonly maxStaleness?: number }

/** `meshguard bundle …` */
export function addBundle(program: Command, run: Run): void {
  const bundle = program.command('bundle').description('signed bundles, which guards decide by without asking the gateway')
  bundle
    .command('pull')
    .description('fetch the bundle, verify it, and write it to a file. Ends with 1, and writes nothing, if it is not good')
    .requiredOption('--output <file>', 'where to; what is there is replaced')
    .option('--token-file <file>', 'a service token with the scope bundle (MESHGUARD_SERVICE_TOKEN)')
    .option('--public-key <file>', PUBLIC_KEY_HELP)
    .action(async ({ output, ...options }: KeyOptions & TokenOptions & { output: string }, command: Command) => {
      const { gatewayUrl, json } = globalsOf(command)
      const token = await serviceTokenOf(options, 'bundle')
      const jws = await fetchBundle(gatewayUrl, token, run.signal)
      const verified = await verify(jws, options, gatewayUrl, run, json)
      if (verified === undefined) return
      await writeWholeFile(output, jws)
      if (json) printJson({ output, ...summaryOf(verified, jws) })
      else {
        print(`Wrote ${plain(output)}`)
        printFields(summaryOf(verified, jws))
      }
    })
  verifying(bundle.command('verify <file>'))
    .description('say whether a bundle is good: signed by the right key, not expired, whole. Ends with 1 if it is not')
    .action(async (file: string, options: VerifyOptions, command: Command) => {
      const { gatewayUrl, json } = globalsOf(command)
      const jws = await bundleIn(file)
      const verified = await verify(jws, options, gatewayUrl, run, json)
      if (verified === undefined) return
      if (json) return printJson({ valid: true, ...summaryOf(verified, jws) })
      print(colour('green', 'The bundle is good'))
      printFields(summaryOf(verified, jws))
    })
  verifying(bundle.command('show <file>'))
    .description('verify a bundle and print what it says; all of it with --json')
    .action(async (file: string, options: VerifyOptions, command: Command) => {
      const { gatewayUrl, json } = globalsOf(command)
      const jws = await bundleIn(file)
      const verified = await verify(jws, options, gatewayUrl, run, json)
      if (verified === undefined) return
      if (json) printJson(verified.document)
      else printBundle(verified, jws)
    })
}

function verifying(command: Command): Command {
  return command
    .option('--public-key <file>', PUBLIC_KEY_HELP)
    .option('--max-staleness <time>', 'how old it may be, like 6h (default: as old as it says itself)', milliseconds)
    .option('--min-version <version>', 'the least version that is good', wholeNumber(1))
}

function globalsOf(command: Command): { gatewayUrl: string; json: boolean } {
  const options = command.optsWithGlobals()
  return { gatewayUrl: gatewayUrlOf(options), json: options['json'] === true }
}

/** A little more than a bundle may have, which says so itself. */
const MAX_BUNDLE = 33 * 1024 * 1024

async function fetchBundle(gatewayUrl: string, token: string, signal: AbortSignal): Promise<string> {
  const response = await requestOf(gatewayUrl, '/v1/bundle', signal, { token })
  if (response.status === 200) return textOf(response, MAX_BUNDLE)
  await response.body?.cancel()
  const why: Record<number, string> = {
    401: 'it does not take this service token',
    403: 'the service token lacks the scope "bundle"',
    404: 'it is no gateway that has bundles',
    409: 'it signs the tokens of agents with JWT_SECRET, and has no bundles then',
  }
  const exitCode = response.status >= 500 ? EXIT.unreachable : EXIT.usage
  throw new CliError(
    `The gateway at ${gatewayUrl} gave no bundle: ${why[response.status] ?? `it answered ${response.status}`}`,
    exitCode,
  )
}

async function bundleIn(file: string): Promise<string> {
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    throw unreadable(file, error)
  })
  return text.trim()
}

/** The bundle; `undefined` if it is not good, which is told and is in the exit code. */
async function verify(
  jws: string,
  { maxStaleness, minVersion, ...options }: VerifyOptions,
  gatewayUrl: string,
  run: Run,
  json: boolean,
): Promise<VerifiedBundle | undefined> {
  const keys = await bundleKeysOf(options, gatewayUrl)
  try {
    return await verifyBundle(jws, keys, { maxStalenessMs: maxStaleness, minVersion })
  } catch (error) {
    if (error instanceof UnavailableError) throw new CliError(`${error.message}. Or give --public-key`, EXIT.unreachable)
    if (!(error instanceof ValidationError)) throw badKeyOf(options, error)
    run.exitCode = EXIT.denied
    if (json) printJson({ valid: false, reason: error.message, issues: error.issues })
    else print(`${colour('red', 'The bundle is not good')}: ${plain(error.message)}`)
    return undefined
  }
}

function summaryOf({ document, policies, kid }: VerifiedBundle, jws: string): Record<string, unknown> {
  const { version, issuedAt, expiresAt, agents, delegations } = document
  const all = Object.values(agents)
  return {
    version,
    issuedAt,
    expiresAt,
    kid,
    policyVersion: policies.version,
    policies: policies.policies.length,
    rules: policies.policies.reduce((sum, { rules }) => sum + rules.length, 0),
    agents: all.length,
    revoked: all.filter(({ revoked }) => revoked === true).length,
    delegations: delegations.length,
    bytes: jws.length,
  }
}

function printBundle(verified: VerifiedBundle, jws: string): void {
  const { agents, delegations } = verified.document
  printFields(summaryOf(verified, jws))
  print()
  printTable(verified.policies.policies, [
    { title: 'POLICY', of: ({ name }) => name },
    { title: 'VERSION', of: ({ version }) => version },
    { title: 'RULES', of: ({ rules }) => rules.length },
  ])
  if (Object.keys(agents).length > 0) {
    print()
    printTable(Object.entries(agents), [
      { title: 'AGENT', of: ([id]) => id },
      { title: 'STATUS', of: ([, { revoked }]) => (revoked === true ? 'revoked' : 'changed') },
      { title: 'TRUST', of: ([, { tier }]) => tier },
      { title: 'TAGS', of: ([, { tags }]) => tags },
      { title: 'GENERATION', of: ([, { gen }]) => gen },
    ])
  }
  if (delegations.length > 0) {
    print()
    printTable(delegations, [
      { title: 'DELEGATION', of: ({ id }) => id },
      { title: 'FROM', of: ({ from }) => from },
      { title: 'TO', of: ({ to }) => to },
      { title: 'ACTIONS', of: ({ actions }) => actions },
      { title: 'EXPIRES', of: ({ expiresAt }) => expiresAt },
    ])
  }
}
