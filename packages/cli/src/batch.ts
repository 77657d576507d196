import { readFile } from 'node:fs/promises'
import type { PolicyTest } from '@meshguard/client'
import { type Issue, isAction, ValidationError } from '@meshguard/core'
import { nearest } from '@meshguard/core/node'
import { isAgentId, TIER_SPELLINGS } from '@meshguard/core/policy'
import { type PlacedDocument, parseDocuments } from '@meshguard/core/yaml'
import { CliError, systemCode } from './errors.js'

/** One test of a batch: what is asked, and what is to be answered. */
export interface BatchTest {
  readonly name: string
  readonly asked: PolicyTest
  readonly expect: 'allow' | 'deny'
  /** The rule that is to decide. */
  readonly rule?: string | undefined
}

type Loose = Readonly<Record<string, unknown>>
type Report = (path: Issue['path'], message: string, what?: 'key' | 'value') => void

/**
 * Reads a file of tests: `tests: [{name, agent, action, resource?, context?, expect, rule?}]`.
 *
 * @throws CliError when it cannot be read, ValidationError with file, line and column of everything that is wrong.
 */
export async function readBatch(file: string): Promise<BatchTest[]> {
  const [document, second] = parseDocuments(await bytesOf(file), { file })
  if (document === undefined || second !== undefined) {
    throw new ValidationError([{ message: 'Expected one document with tests', path: [], ...second?.placeOf([]), file }])
  }
  const issues: Issue[] = []
  const tests = readTests(document.value, reportInto(issues, document))
  if (issues.length > 0) throw new ValidationError(issues)
  return tests
}

async function bytesOf(file: string): Promise<Uint8Array> {
  try {
    return await readFile(file)
  } catch (error) {
    const code = systemCode(error)
    throw new CliError(`${file}: ${code === 'ENOENT' ? 'no such file' : `cannot be read (${code ?? error})`}`)
  }
}

function reportInto(issues: Issue[], { placeOf }: PlacedDocument): Report {
  return (path, message, what = 'value') => {
    const at = path.reduce<string>((words, key) => words + (typeof key === 'number' ? `[${key}]` : `${words && '.'}${key}`), '')
    issues.push({ message: what === 'key' || at === '' ? message : `${at}: ${message}`, path, ...placeOf(path, what) })
  }
}

function readTests(value: unknown, report: Report): BatchTest[] {
  if (!isObject(value)) {
    report([], 'Expected "tests:" with a list below it')
    return []
  }
  checkKeys(value, ['tests'], [], report)
  const { tests } = value
  if (!Array.isArray(tests) || tests.length === 0) {
    report('tests' in value ? ['tests'] : [], 'expected "tests:" with a list of at least one test')
    return []
  }
  return tests.flatMap((test, i) => readTest(test, ['tests', i], report))
}

const KEYS = ['name', 'agent', 'action', 'resource', 'context', 'expect', 'rule']

function readTest(test: unknown, path: Issue['path'], report: Report): BatchTest[] {
  if (!isObject(test)) {
    report(path, 'expected a test: { name, agent, action, expect }')
    return []
  }
  checkKeys(test, KEYS, path, report)
  const check = (key: string, isRight: (value: unknown) => boolean, expected: string) => {
    if (test[key] === undefined) return report(path, `"${key}" is missing; expected ${expected}`)
    if (!isRight(test[key])) report([...path, key], `expected ${expected}`)
  }
  const checkIfThere = (key: string, isRight: (value: unknown) => boolean, expected: string) => {
    if (test[key] !== undefined) check(key, isRight, expected)
  }
  check('name', isText, 'text')
  check('action', isAction, 'an action like "read:contacts"')
  check('expect', (value) => value === 'allow' || value === 'deny', 'allow or deny')
  checkIfThere('resource', isText, 'text')
  checkIfThere('context', isObject, 'an object')
  checkIfThere('rule', isText, 'the name of a rule')
  if (isObject(test['agent'])) checkAgent(test['agent'], [...path, 'agent'], report)
  else check('agent', isAgentId, 'the id of an agent, or { trustTier, tags }')
  const { name, expect, rule, ...asked } = test
  // Checked just now; whatever was reported is thrown before anyone reads it.
  return [{ name, expect, rule, asked } as unknown as BatchTest]
}

function checkAgent(agent: Loose, path: Issue['path'], report: Report): void {
  checkKeys(agent, ['trustTier', 'tags'], path, report)
  const { trustTier, tags } = agent
  if (trustTier !== undefined && !TIER_SPELLINGS.includes(trustTier as string)) {
    report([...path, 'trustTier'], `expected one of ${TIER_SPELLINGS.join(', ')}`)
  }
  if (tags !== undefined && !(Array.isArray(tags) && tags.every(isText))) report([...path, 'tags'], 'expected a list of text')
}

function checkKeys(value: Loose, known: readonly string[], path: Issue['path'], report: Report): void {
  for (const key of Object.keys(value)) {
    if (known.includes(key)) continue
    const near = nearest(key, known)
    report(
      [...path, key],
      `Unknown key "${key}". ${near ? `Did you mean "${near}"?` : `There are ${known.join(', ')}.`}`,
      'key',
    )
  }
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== ''
}

function isObject(value: unknown): value is Loose {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
