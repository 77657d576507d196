/**
 * MeshGuard's core: the guard, the policy engine, tokens, and the interfaces that everything else implements.
 *
 * @module
 */
export { type DerivableRoute, deriveAction, isAction, type ParameterisedRoute, type Params, resourceOf } from './action.js'
export {
  type AuditLosses,
  type AuditTarget,
  auditTo,
  auditToConsole,
  type BoundedSink,
  type BoundedSinkOptions,
  boundedSink,
  type ConsoleSinkOptions,
  type QueueOptions,
} from './audit.js'
export { auditToGateway, type GatewaySinkOptions } from './audit-gateway.js'
export { serialiseEvent } from './audit-line.js'
export type { DecideOptions } from './conclude.js'
export {
  AuthenticationError,
  ConnectionError,
  type Issue,
  MeshGuardError,
  PolicyDeniedError,
  RateLimitError,
  UnavailableError,
  ValidationError,
} from './errors.js'
export { type Check, type CheckOptions, createGuard, type Guard, type GuardOptions } from './guard.js'
export { createMemoryLimiter, type MemoryLimiterOptions } from './policy/limiter.js'
export { createPolicies } from './policy/policies.js'
export type * from './policy/policy.js'
export { definePolicy, parsePolicy } from './policy/schema.js'
export type { Disclose } from './refusal.js'
export {
  type BundleInfo,
  type BundleOrigin,
  type BundleReloadInfo,
  type BundleSettings,
  type BundleSource,
  type FromBundleOptions,
  fromBundle,
} from './sources/from-bundle.js'
export { type FromGatewayOptions, fromGateway, type GatewaySource } from './sources/from-gateway.js'
export { type FromPoliciesOptions, fromPolicies, type PolicyInput, type PolicySource } from './sources/from-policies.js'
export { type AgentTokenKeys, type AgentTokensOptions, agentTokens } from './tokens/agent-tokens.js'
export type { AgentClaims } from './tokens/claims.js'
export {
  type GeneratedKeyPair,
  type GeneratedSecret,
  generateKeys,
  type MintAgentTokenOptions,
  mintAgentToken,
} from './tokens/mint.js'
export type * from './types.js'
