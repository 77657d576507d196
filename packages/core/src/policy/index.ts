/**
 * The parts of the policy language, for whoever stores, shows or edits policies: patterns, tiers and agent ids as the language
 * reads them, documents and their shape, and the arithmetic of rate limits. Nothing that decides is made of these alone:
 * that is `fromPolicies` in `@meshguard/core`.
 *
 * @module
 */
export { isAgentId, parseTier, TIER_SPELLINGS, TRUST_TIERS } from '../agent.js'
export { type Level, type Levels, takeFrom } from './gcra.js'
export { covers, isPattern, patternProblem } from './pattern.js'
export { policySchema } from './schema.js'
export { documentOf } from './write-policy.js'
