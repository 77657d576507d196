import type { Explanation, PolicyTest, TrustTier } from '@meshguard/client'
import type { Command } from 'commander'
import { jsonObject, list, trustOption } from '../arguments.js'
import { type Ask, askFiles, askGateway } from '../asking.js'
import { type BatchTest, readBatch } from '../batch.js'
import { CliError, EXIT } from '../errors.js'
import { colour, plain, print, printJson, verdict } from '../output.js'
import { startProgress } from '../progress.js'
import { openSession, type Run } from '../session.js'

interface TestOptions {
  readonly agent?: string
  readonly trust?: TrustTier
  readonly tags?: string[]
  readonly action?: string
  readonly resource?: string
  readonly context?: Record<string, unknown>
  readonly policy?: string
  readonly file?: string
  readonly policies?: string
  readonly verbose?: true
}

/** `meshguard policy test` */
export function addPolicyTest(policy: Command, run: Run): void {
  policy
    .command('test')
    .description('say what the policies answer; nothing is counted or recorded. Ends with 1 for a denial or a failed test')
    .option('--agent <id>', 'who asks')
    .addOption(trustOption('instead of --agent: an agent of this tier'))
    .option('--tags <tags>', 'instead of --agent: an agent with these tags, separated by commas', list)
    .option('--action <action>', 'what it wants to do: verb:object')
    .option('--resource <resource>', 'to what')
    .option('--context <json>', 'under which circumstances', jsonObject)
    .option('--policy <name>', 'ask this policy alone')
    .option('--file <tests>', 'run all tests of a YAML or JSON file')
    .option('--policies <path>', 'ask the policies of this file or folder, without a gateway')
    .option('--verbose', 'say of every policy and rule why it did or did not match')
    .action(async (options: TestOptions, command: Command) => {
      const json = command.optsWithGlobals()['json'] === true
      const tests = options.file === undefined ? undefined : await batchOf(options.file, options)
      const test = tests === undefined ? testOf(options) : undefined
      const ask = options.policies === undefined ? askGateway(openSession(command, run)) : await askFiles(options.policies)
      if (test !== undefined) await runOne(test, ask, run, json, options.verbose === true)
      else await runBatch(tests ?? [], ask, run, json, options.verbose === true)
    })
}

async function batchOf(file: string, options: TestOptions): Promise<BatchTest[]> {
  const { agent, trust, tags, action, resource, context, policy } = options
  if ([agent, trust, tags, action, resource, context].some((given) => given !== undefined)) {
    throw new CliError(
      'With --file, what is asked stands in the file. Leave out --agent, --trust, --tags, --action, --resource and --context',
    )
  }
  const tests = await readBatch(file)
  return policy === undefined ? tests : tests.map((test) => ({ ...test, asked: { ...test.asked, policy } }))
}

function testOf({ agent, trust, tags, action, resource, context, policy }: TestOptions): PolicyTest {
  if (action === undefined) throw new CliError('What is asked? Give --agent and --action, or --file with tests')
  const described = trust !== undefined || tags !== undefined
  if (described === (agent !== undefined)) throw new CliError('Who asks? Give --agent, or --trust and --tags')
  return { agent: agent ?? { trustTier: trust, tags }, action, resource, context, policy }
}

async function runOne(test: PolicyTest, ask: Ask, run: Run, json: boolean, verbose: boolean): Promise<void> {
  const answer = await ask(test)
  if (answer.decision === 'deny') run.exitCode = answer.code === 'invalid_action' ? EXIT.usage : EXIT.denied
  if (json) return printJson(answer)
  print([verdict(answer.decision), plain(test.action), ...whyOf(answer)].join(' '))
  if (verbose) printSteps(answer)
}

interface TestResult {
  readonly name: string
  readonly passed: boolean
  readonly decision: 'allow' | 'deny'
  readonly expected: 'allow' | 'deny'
  readonly policy?: string | undefined
  readonly rule?: string | undefined
  readonly reason?: string | undefined
}

async function runBatch(tests: readonly BatchTest[], ask: Ask, run: Run, json: boolean, verbose: boolean): Promise<void> {
  const results: TestResult[] = []
  const progress = startProgress('Testing…')
  try {
    for (const test of tests) {
      const answer = await ask(test.asked)
      const { decision, policy, rule, reason } = answer
      const passed = decision === test.expect && (test.rule === undefined || test.rule === rule)
      results.push({ name: test.name, passed, decision, expected: test.expect, policy, rule, reason })
      progress.say(`Testing… ${results.length} of ${tests.length}`)
      if (json || (passed && !verbose)) continue
      progress.end()
      printResult(test, passed, answer)
      if (verbose) printSteps(answer)
    }
  } finally {
    progress.end()
  }
  const failed = results.filter(({ passed }) => !passed).length
  const summary = { total: results.length, passed: results.length - failed, failed }
  if (failed > 0) run.exitCode = EXIT.denied
  if (json) return printJson({ summary, results })
  print(
    `${colour(failed > 0 ? 'red' : 'green', `${summary.passed} of ${summary.total} tests passed`)}${failed > 0 ? `, ${failed} failed` : ''}`,
  )
}

function printResult({ name, expect, rule }: BatchTest, passed: boolean, answer: Explanation): void {
  const wanted = `expected ${expect}${rule === undefined ? '' : ` by ${plain(rule)}`}`
  const got = [answer.decision, ...whyOf(answer)].join(' ')
  print(passed ? `${colour('green', 'ok')}   ${plain(name)}` : `${colour('red', 'FAIL')} ${plain(name)}: ${wanted}, got ${got}`)
}

function whyOf({ code, policy, rule, reason }: Explanation): string[] {
  const by =
    policy === undefined ? [`(${code})`] : [`by ${plain(policy)}${rule === undefined ? '' : `/${JSON.stringify(plain(rule))}`}`]
  return reason === undefined ? by : [...by, `- ${plain(reason)}`]
}

function printSteps({ steps }: Explanation): void {
  for (const { policy, applies, why, rules } of steps) {
    print(`  ${applies ? '' : colour('dim', 'not ')}${plain(policy)}: ${plain(why)}`)
    for (const { rule, matched, why } of rules)
      print(`    ${matched ? colour('bold', '=>') : '  '} ${plain(rule)}: ${plain(why)}`)
  }
}
