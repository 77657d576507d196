/**
 * MeshGuard's core: the guard, the policy engine, tokens, and the interfaces that everything else implements.
 *
 * @module
 */
export { type DerivableRoute, deriveAction, isAction, type ParameterisedRoute, type Params, resourceOf } from './action.js'
export type { DecideOptions } from './decide.js'
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
export type { Disclose } from './refusal.js'
export type * from './types.js'
