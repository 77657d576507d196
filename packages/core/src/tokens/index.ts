/**
 * For services that issue tokens and know their agents themselves. Applications verify with `agentTokens` of `@meshguard/core`.
 *
 * @module
 */
export type { AgentClaims } from './claims.js'
export { type TokenClaimsOptions, tokenClaims } from './token-claims.js'
