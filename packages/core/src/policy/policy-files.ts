import { type Issue, ValidationError } from '../errors.js'
import { parseYaml, type YamlDocument } from './parse-yaml.js'
import { createPolicies } from './policies.js'
import type { Policies, Policy } from './policy.js'
import { type Place, type PolicyText, readText } from './policy-text.js'
import { parsePolicy } from './schema.js'

/** A policy, and where its name and everything else in it stands. */
export interface PlacedPolicy {
  readonly policy: Policy
  readonly place: Place
  placeOf(path: Issue['path']): Place
}

const MAX_ISSUES = 100

/**
 * Reads the policies of one file, with everything that is wrong with them up to the first thing that is not YAML.
 *
 * @throws ValidationError whose issues have file, line and column.
 */
export function readPolicies(source: string | Uint8Array, file?: string): PlacedPolicy[] {
  const text = readText(source, file)
  const placed: PlacedPolicy[] = []
  const issues: Issue[] = []
  collect(issues, () => {
    for (const document of parseYaml(text)) {
      collect(issues, () => placed.push(readPolicy(document, text)))
      if (issues.length > MAX_ISSUES) return
    }
  })
  throwIfAny(issues)
  return placed
}

/**
 * Makes one set of the policies of all files.
 *
 * @throws ValidationError when two have one name, naming both places, or when they are too many.
 */
export function joinPolicies(placed: readonly PlacedPolicy[]): Policies {
  const first = new Map<string, Place>()
  const issues: Issue[] = []
  for (const { policy, place } of placed) {
    const other = first.get(policy.name)
    if (other === undefined) first.set(policy.name, place)
    else
      issues.push({
        message: `A second policy is named "${policy.name}"; the first is ${inWords(other)}`,
        path: ['name'],
        ...place,
      })
  }
  throwIfAny(issues)
  return createPolicies(placed.map(({ policy }) => policy))
}

/** Runs something and takes note of what it finds wrong. */
export function collect(issues: Issue[], work: () => void): void {
  try {
    work()
  } catch (error) {
    if (!(error instanceof ValidationError)) throw error
    issues.push(...error.issues)
  }
}

/** Throws what was found wrong, at most a hundred things of it. */
export function throwIfAny(issues: readonly Issue[]): void {
  if (issues.length === 0) return
  const next = issues[MAX_ISSUES]
  const more = next === undefined ? [] : [{ ...next, message: `… and ${issues.length - MAX_ISSUES} more from here on` }]
  throw new ValidationError([...issues.slice(0, MAX_ISSUES), ...more])
}

function readPolicy({ value, offsetOf }: YamlDocument, text: PolicyText): PlacedPolicy {
  const at = (path: Issue['path'], what: 'key' | 'value'): Place => text.placeOf(offsetOf(path, what))
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    const message =
      'Expected a policy, which is a mapping with a name and rules; several are YAML documents parted by ---, not a list'
    throw new ValidationError([{ message, path: [], ...at([], 'value') }])
  }
  try {
    return { policy: parsePolicy(value), place: at(['name'], 'value'), placeOf: (path) => at(path, 'value') }
  } catch (error) {
    if (!(error instanceof ValidationError)) throw error
    const issues = error.issues.slice(0, MAX_ISSUES + 1)
    throw new ValidationError(issues.map((issue) => ({ ...issue, ...at(issue.path, whatOf(issue)) })).sort(inOrder))
  }
}

function inOrder(one: Issue, other: Issue): number {
  return (one.line ?? 0) - (other.line ?? 0) || (one.column ?? 0) - (other.column ?? 0)
}

/** The path of an unknown key, path or operator leads to the key itself. */
function whatOf({ message }: Issue): 'key' | 'value' {
  return message.startsWith('Unknown ') ? 'key' : 'value'
}

function inWords({ file, line, column }: Place): string {
  return file === undefined ? `at line ${line}, column ${column}` : `at ${file}:${line}:${column}`
}
