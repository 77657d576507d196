import { type PolicyDocument, ValidationError } from '@meshguard/core'
import type { Content } from './gateway.js'

/**
 * The name of the one policy that there is.
 *
 * @throws ValidationError for text that is no policy, or holds several.
 */
export async function policyNameOf(policy: PolicyDocument | string): Promise<string> {
  if (typeof policy !== 'string') return policy.name
  const { parsePolicies } = await import('@meshguard/core/yaml')
  const { policies } = parsePolicies(policy)
  const [only] = policies
  if (only !== undefined && policies.length === 1) return only.name
  throw new ValidationError([{ message: `The text holds ${policies.length} policies. Apply one at a time`, path: [] }])
}

/** A policy as the body of a request. */
export function policyContent(policy: PolicyDocument | string): Content {
  return typeof policy === 'string' ? { body: policy, headers: { 'content-type': 'application/yaml' } } : { json: policy }
}
