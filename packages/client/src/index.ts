/**
 * The MeshGuard SDK: check, enforce and govern actions, call APIs through the gateway, run its administration.
 *
 * @module
 */
export {
  AuthenticationError,
  type Check,
  ConnectionError,
  type Decision,
  type Explanation,
  type Issue,
  MeshGuardError,
  PolicyDeniedError,
  type PolicyDocument,
  RateLimitError,
  type TrustTier,
  UnavailableError,
  ValidationError,
} from '@meshguard/core'
export { type GovernedScope, MeshGuardClient } from './client.js'
export type * from './options.js'
export type * from './records.js'
