import { type Issue, ValidationError } from '../errors.js'
import { digestOf } from './digest.js'
import type { PolicyDocument } from './document.js'
import type { Policies, Policy } from './policy.js'
import { digestOfPolicy, parsePolicy } from './schema.js'

const MAX_RULES_IN_ALL = 100_000

const made = new WeakSet<object>()

/**
 * Makes a set of policies that decides together. Documents are parsed, policies are taken as they are; their order does not
 * matter. A set is made whole or not at all.
 *
 * @throws ValidationError with everything that is wrong; the `path` of each issue begins with the policy's place in the list.
 * Two policies of one name are an error, and so are more than 100 000 rules in all.
 *
 * @example
 * ```ts
 * const policies = createPolicies([{ name: 'readers', rules: [{ effect: 'allow', actions: ['read:*'] }] }])
 * ```
 */
export function createPolicies(list: readonly (Policy | PolicyDocument)[]): Policies {
  const issues: Issue[] = []
  const policies = list.flatMap((one, i) => parseOne(one, i, issues))
  checkSet(policies, issues)
  if (issues.length > 0) throw new ValidationError(issues)
  const sorted = policies.map(({ policy }) => policy).sort((a, b) => (a.name < b.name ? -1 : 1))
  const set = Object.freeze({ version: digestOf(sorted.map(digestOfPolicy).join()), policies: Object.freeze(sorted) })
  made.add(set)
  return set
}

/** Whether a set was made by {@link createPolicies}. */
export function isPolicies(value: object): value is Policies {
  return made.has(value)
}

interface Placed {
  readonly policy: Policy
  /** The place in the list. */
  readonly at: number
}

function parseOne(value: Policy | PolicyDocument, at: number, issues: Issue[]): Placed[] {
  try {
    return [{ policy: isParsed(value) ? value : parsePolicy(value), at }]
  } catch (error) {
    if (!(error instanceof ValidationError)) throw error
    issues.push(...error.issues.map((issue) => ({ ...issue, path: [at, ...issue.path] })))
    return []
  }
}

function isParsed(value: Policy | PolicyDocument): value is Policy {
  return digestOfPolicy(value) !== undefined
}

function checkSet(policies: readonly Placed[], issues: Issue[]): void {
  const seen = new Set<string>()
  let rules = 0
  for (const { policy, at } of policies) {
    if (seen.has(policy.name)) issues.push({ path: [at, 'name'], message: `Two policies are named "${policy.name}"` })
    seen.add(policy.name)
    rules += policy.rules.length
  }
  if (rules > MAX_RULES_IN_ALL) {
    issues.push({ path: [], message: `A set of policies has at most ${MAX_RULES_IN_ALL} rules, this one ${rules}` })
  }
}
