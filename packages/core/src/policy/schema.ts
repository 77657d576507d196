import * as z from 'zod/mini'
import { isAgentId, parseTier, TIER_SPELLINGS, TRUST_TIERS } from '../agent.js'
import { type Issue, ValidationError } from '../errors.js'
import { isObject } from '../options.js'
import { UNITS } from '../refusal.js'
import type { Limit, TrustTier } from '../types.js'
import { type Condition, readConditions } from './conditions.js'
import { digestOf } from './digest.js'
import type { AppliesToDocument, PolicyDocument, RateLimitDocument, RuleDocument } from './document.js'
import { issueAt, issuesOf, type Path } from './issues.js'
import { isPattern, patternProblem } from './pattern.js'
import type { AppliesTo, Policy, Rule } from './policy.js'

/** The most rules of one policy. */
export const MAX_RULES = 10_000
const MAX_PATTERNS = 64
const MAX_NESTING = 16
const MAX_DELEGATION = 5

const text = z.string().check(z.minLength(1))
const effect = z.enum(['allow', 'deny'])
const tier = z.enum(TIER_SPELLINGS as [string, ...string[]])
const pattern = z.string().check(z.refine(isPattern, { error: ({ input }) => patternProblem(input as string) }))
const patterns = z.array(pattern).check(z.minLength(1), z.maxLength(MAX_PATTERNS))
const whole = z.int().check(z.minimum(1))
const names = z.array(text).check(z.minLength(1))
const agentIds = z
  .array(z.string().check(z.refine(isAgentId, 'expected an agent id: letters, digits and . _ : @ -')))
  .check(z.minLength(1))

const conditions = z.unknown().check(({ value, issues }) => {
  if (value === undefined) return
  const conditions = readConditions(value, (path, message) => {
    issues.push({ code: 'custom', path: [...path], message, input: value })
  })
  if (isObject(value)) readAlready.set(value, conditions)
})

/** What was read of a document's conditions: it need not be read again when a policy is made of it. */
const readAlready = new WeakMap<object, readonly Condition[]>()

const appliesTo = z.strictObject({
  trustTiers: z.optional(z.array(tier).check(z.minLength(1))),
  minTrustTier: z.optional(tier),
  tags: z.optional(names),
  agentIds: z.optional(agentIds),
})
const rateLimit = z.strictObject({
  requests: whole,
  per: z.string().check(z.regex(/^[1-9]\d{0,5}[smhd]$/, 'expected a whole number and s, m, h or d, like "1m"')),
})
const rule = z.strictObject({
  name: z.optional(text),
  effect,
  actions: patterns,
  reason: z.optional(text),
  conditions: z.optional(conditions),
  rateLimit: z.optional(rateLimit),
})
const rateLimits = z.strictObject({ requestsPerMinute: z.optional(whole), requestsPerHour: z.optional(whole) })
const delegation = z.strictObject({
  maxDepth: z.optional(z.int().check(z.minimum(0), z.maximum(MAX_DELEGATION))),
  permissionCeiling: z.optional(patterns),
})
/**
 * The shape of a policy document, for tools that describe it (JSON Schema, OpenAPI). It does not say everything: a document is
 * checked by {@link parsePolicy}.
 */
export const policySchema = z.strictObject({
  name: z.string().check(z.regex(/^[a-z0-9][a-z0-9._-]{0,63}$/, 'expected 1 to 64 of a-z 0-9 . _ -, a letter or digit first')),
  version: z.optional(z.string()),
  description: z.optional(z.string()),
  appliesTo: z.optional(appliesTo),
  rules: z.array(rule).check(z.minLength(1), z.maxLength(MAX_RULES)),
  combine: z.optional(z.enum(['first-match', 'deny-overrides'])),
  defaultEffect: z.optional(effect),
  rateLimits: z.optional(rateLimits),
  delegation: z.optional(delegation),
})

/**
 * Checks a policy document of any origin and makes a policy of it. Only own, enumerable keys count, and nothing is ignored.
 *
 * @throws ValidationError with everything that is wrong. An issue's `path` ends with an unknown key itself; a missing key is
 * named by the message, and the path leads to the object that lacks it.
 *
 * @example
 * ```ts
 * const policy = parsePolicy(JSON.parse(text))
 * const source = fromPolicies(policy)
 * ```
 */
export function parsePolicy(value: unknown): Policy {
  const document = copyOwn(value, 1)
  const { error } = z.safeParse(policySchema, document)
  const found = error?.issues.flatMap((issue) => issuesOf(issue, document, keysAt)) ?? []
  const issues = [...found, ...crossIssues(document)]
  if (issues.length > 0) throw new ValidationError(issues)
  const made = normalise(document as PolicyDocument)
  digests.set(made, digestOf(JSON.stringify(made)))
  return freeze(made)
}

/** One policy of parts that {@link parsePolicy} made of a document's rules, in order; their names must differ. */
export function joinParts(parts: readonly Policy[]): Policy {
  const whole = Object.freeze({ ...(parts[0] as Policy), rules: Object.freeze(parts.flatMap(({ rules }) => rules)) })
  digests.set(whole, digestOf(JSON.stringify(whole)))
  return whole
}

/** The digests of all policies that {@link parsePolicy} made. It writes their keys in one order, so their JSON is canonical. */
const digests = new WeakMap<object, string>()

/** The digest of a policy that {@link parsePolicy} made; `undefined` for anything else, which has to be parsed first. */
export function digestOfPolicy(value: unknown): string | undefined {
  return typeof value === 'object' && value !== null ? digests.get(value) : undefined
}

/**
 * A policy written in TypeScript: the compiler checks its shape, {@link parsePolicy} the rest.
 *
 * @throws ValidationError with everything that is wrong.
 *
 * @example
 * ```ts
 * const readers = definePolicy({ name: 'readers', rules: [{ effect: 'allow', actions: ['read:*'] }] })
 * ```
 */
export function definePolicy(document: PolicyDocument): Policy {
  return parsePolicy(document)
}

/** A prototype with nothing in it. V8 reads objects that have one much faster than those that have none. */
const NOTHING: object = Object.freeze(Object.create(null))

/** Own enumerable keys alone, so that nothing inherited is ever read as part of a policy. */
function copyOwn(value: unknown, depth: number): unknown {
  if (typeof value !== 'object' || value === null) return value
  if (depth > MAX_NESTING) throw new ValidationError([{ path: [], message: `A policy is nested at most ${MAX_NESTING} deep` }])
  if (Array.isArray(value)) return Array.from(value, (one) => copyOwn(one, depth + 1))
  const copy: Record<string, unknown> = Object.create(NOTHING)
  for (const key of Object.keys(value)) copy[key] = copyOwn(Reflect.get(value, key), depth + 1)
  return copy
}

const SHAPES: ReadonlyMap<string, z.ZodMiniObject> = new Map<string, z.ZodMiniObject>([
  ['', policySchema],
  ['appliesTo', appliesTo],
  ['rules', rule],
  ['rateLimit', rateLimit],
  ['rateLimits', rateLimits],
  ['delegation', delegation],
])

/** The keys that an object of the document may have. */
function keysAt(path: Path): readonly string[] {
  const last = path.filter((key) => typeof key === 'string').at(-1) ?? ''
  return Object.keys(SHAPES.get(last)?.def.shape ?? {})
}

/** What a schema cannot say: keys that exclude each other, names that must differ, objects that say nothing. */
function crossIssues(document: unknown): Issue[] {
  if (!isObject(document)) return []
  const issues: Issue[] = []
  const report = (path: Path, message: string) => issues.push(issueAt(path, message))
  for (const key of ['appliesTo', 'rateLimits', 'delegation']) {
    const value = document[key]
    if (isObject(value) && Object.values(value).every((one) => one === undefined)) report([key], 'is empty; leave it out')
  }
  const { appliesTo, rules, rateLimits } = document
  if (isObject(appliesTo) && appliesTo['trustTiers'] !== undefined && appliesTo['minTrustTier'] !== undefined) {
    report(['appliesTo', 'minTrustTier'], 'is given beside trustTiers; keep one of them')
  }
  const named = new Map<unknown, number>()
  for (const [i, one] of (Array.isArray(rules) ? rules : []).entries()) {
    if (!isObject(one)) continue
    const { name, rateLimit } = one
    const first = named.get(name)
    if (first === undefined) named.set(name, i)
    else if (typeof name === 'string') report(['rules', i, 'name'], `rules[${first}] is named "${name}" already`)
    if (isCountless(rateLimit)) report(['rules', i, 'rateLimit'], COUNTLESS)
  }
  for (const [key, per] of PERIODS) {
    if (isObject(rateLimits) && isCountless({ requests: rateLimits[key], per })) report(['rateLimits', key], COUNTLESS)
  }
  return issues
}

const COUNTLESS = 'is too large to be counted exactly'
const PERIODS = [
  ['requestsPerMinute', '1m'],
  ['requestsPerHour', '1h'],
] as const

function isCountless(limit: unknown): boolean {
  const { requests, per } = isObject(limit) ? limit : {}
  return typeof requests === 'number' && typeof per === 'string' && requests * windowMs(per) > Number.MAX_SAFE_INTEGER
}

function normalise({ rules, appliesTo, combine, defaultEffect, rateLimits, delegation, ...rest }: PolicyDocument): Policy {
  return {
    name: rest.name,
    version: rest.version,
    description: rest.description,
    appliesTo: appliesTo && normaliseScope(appliesTo),
    rules: normaliseRules(rules),
    combine: combine ?? 'first-match',
    defaultEffect: defaultEffect ?? 'deny',
    rateLimits: PERIODS.flatMap(([key, per]) => {
      const requests = rateLimits?.[key]
      return requests === undefined ? [] : normaliseLimit({ requests, per })
    }),
    delegation: delegation && { ...delegation },
  }
}

function normaliseScope({ trustTiers, minTrustTier, tags, agentIds }: AppliesToDocument): AppliesTo {
  const given = trustTiers?.map((spelling) => parseTier(spelling) as TrustTier)
  const lowest = minTrustTier === undefined ? undefined : parseTier(minTrustTier)
  const tiers = lowest === undefined ? given : TRUST_TIERS.slice(TRUST_TIERS.indexOf(lowest))
  return { trustTiers: tiers && TRUST_TIERS.filter((one) => tiers.includes(one)), tags, agentIds }
}

function normaliseRules(rules: readonly RuleDocument[]): Rule[] {
  const taken = new Set(rules.map((one) => one.name))
  const counts = new Map<string, number>()
  return rules.map((one) => ({
    name: one.name ?? defaultName(one, taken, counts),
    effect: one.effect,
    actions: one.actions,
    reason: one.reason,
    conditions:
      one.conditions === undefined ? [] : (readAlready.get(one.conditions) ?? readConditions(one.conditions, () => {})),
    rateLimit: one.rateLimit && normaliseLimit(one.rateLimit),
  }))
}

/** `deny admin:*`, and `deny admin:* #2` for the second rule that would be called so. */
function defaultName({ effect, actions }: RuleDocument, taken: Set<string | undefined>, counts: Map<string, number>): string {
  const plain = `${effect} ${actions[0]}`
  for (let count = (counts.get(plain) ?? 0) + 1; ; count++) {
    const name = count === 1 ? plain : `${plain} #${count}`
    if (taken.has(name)) continue
    taken.add(name)
    counts.set(plain, count)
    return name
  }
}

function normaliseLimit({ requests, per }: RateLimitDocument): Limit {
  return { requests, windowMs: windowMs(per) }
}

function windowMs(per: string): number {
  const [ms] = UNITS.find(([, unit]) => unit[0] === per.at(-1)) ?? [Number.NaN]
  return Number(per.slice(0, -1)) * ms
}

function freeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value
  for (const key of Object.keys(value)) freeze(Reflect.get(value, key))
  return Object.freeze(value)
}
