import { isAgentId, parseTier } from '../agent.js'
import { type Issue, ValidationError } from '../errors.js'
import { isObject } from '../options.js'
import type { PolicyDocument } from '../policy/document.js'
import { createPolicies } from '../policy/policies.js'
import type { Policies, Policy } from '../policy/policy.js'
import { joinParts, MAX_RULES, parsePolicy } from '../policy/schema.js'
import { areTags, freezeJson, MAX_METADATA_DEPTH } from '../tokens/claims.js'
import type { BundleAgent } from './document.js'
import { badBundle } from './head.js'
import { giveWay } from './read-json.js'

const REVOKED_MEMBERS: ReadonlySet<string> = new Set(['revoked', 'tier', 'tags', 'gen'])
const MEMBERS: ReadonlySet<string> = new Set([...REVOKED_MEMBERS, 'name', 'metadata'])

/** Adds agents that were read, frozen, to those that are known. @throws ValidationError for the first that is wrong. */
export function addAgents(known: Map<string, BundleAgent>, part: unknown): void {
  for (const [id, agent] of Object.entries(part as object)) {
    const problem = isAgentId(id) ? problemOf(agent) : 'is not the id of an agent'
    if (problem !== undefined) throw badBundle(`agents.${JSON.stringify(id)}: ${problem}`, ['agents', id])
    known.set(id, agent as BundleAgent)
  }
}

function problemOf(agent: unknown): string | undefined {
  if (!isObject(agent)) return 'expected an object'
  const { revoked, tier, tags, gen, name, metadata } = agent
  const isRevoked = revoked === true
  for (const key of Object.keys(agent)) {
    if (!(isRevoked ? REVOKED_MEMBERS : MEMBERS).has(key)) return `Unknown key ${JSON.stringify(key)}`
  }
  if (revoked !== undefined && typeof revoked !== 'boolean') return 'revoked: expected true or false'
  if (!(isRevoked && tier === undefined) && parseTier(tier) === undefined) return 'tier: expected a trust tier'
  if (!(isRevoked && tags === undefined) && !areTags(tags)) return 'tags: expected at most 64 tags of 64 characters'
  if (!(isRevoked && gen === undefined) && !(Number.isSafeInteger(gen) && (gen as number) >= 0)) {
    return 'gen: expected a whole number from 0'
  }
  if (name !== undefined && typeof name !== 'string') return 'name: expected text'
  if (metadata !== undefined && !isObject(metadata)) return 'metadata: expected an object'
  return freezeJson(agent, MAX_METADATA_DEPTH + 1) ? undefined : 'is nested too deeply, or names "__proto__"'
}

/** Rules that are parsed at a time: a few milliseconds. */
const SLICE = 250

/** Parses the policies of a bundle in slices. @throws ValidationError; the path of each issue begins with `policies`. */
export async function parsePolicies(documents: readonly unknown[]): Promise<Policies> {
  const issues: Issue[] = []
  const policies: Policy[] = []
  let rules = 0
  for (const [i, document] of documents.entries()) {
    await placed(i, issues, async () => void policies.push(await parseInParts(document)))
    rules += policies.at(-1)?.rules.length ?? 0
    if (rules < SLICE) continue
    rules = 0
    await giveWay()
  }
  if (issues.length > 0) throw new ValidationError(issues)
  try {
    return createPolicies(policies)
  } catch (error) {
    throw placing(error, [])
  }
}

async function placed(at: number, issues: Issue[], parse: () => Promise<void>): Promise<void> {
  try {
    await parse()
  } catch (error) {
    issues.push(...placing(error, [at]).issues)
  }
}

function placing(error: unknown, at: readonly number[]): ValidationError {
  if (!(error instanceof ValidationError)) throw error
  const place = `policies${at.map((i) => `[${i}]`).join('')}`
  return new ValidationError(
    error.issues.map((issue) => ({
      ...issue,
      path: ['policies', ...at, ...issue.path],
      message: `${place}: ${issue.message}`,
    })),
  )
}

/** A policy of very many rules is parsed as several of some, if their names are there and differ; what is wrong is said of the whole. */
async function parseInParts(document: unknown): Promise<Policy> {
  const rules = isObject(document) && Array.isArray(document['rules']) ? document['rules'] : []
  if (rules.length <= 2 * SLICE || rules.length > MAX_RULES || !areNamed(rules)) return parsePolicy(document)
  const parts: Policy[] = []
  for (let from = 0; from < rules.length; from += SLICE) {
    const part = partOf(document as PolicyDocument, from)
    if (part === undefined) return parsePolicy(document)
    parts.push(part)
    await giveWay()
  }
  return joinParts(parts)
}

function partOf(document: PolicyDocument, from: number): Policy | undefined {
  try {
    return parsePolicy({ ...document, rules: document.rules.slice(from, from + SLICE) })
  } catch (error) {
    if (error instanceof ValidationError) return undefined
    throw error
  }
}

function areNamed(rules: readonly unknown[]): boolean {
  const names = rules.map((rule) => (isObject(rule) ? rule['name'] : undefined))
  return names.every((name) => typeof name === 'string') && new Set(names).size === names.length
}
