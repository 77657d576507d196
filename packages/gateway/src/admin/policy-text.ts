import { type Issue, type Policy, type PolicyDocument, ValidationError } from '@meshguard/core'
import { documentOf } from '@meshguard/core/policy'
import { parsePolicies } from '@meshguard/core/yaml'
import type { Context } from 'hono'
import { tooLarge } from '../http/errors.js'
import { readBody } from '../http/read-json.js'
import type { GatewayEnv } from '../services.js'

/** The media types of a policy. */
export const POLICY_TYPES: readonly string[] = ['application/json', 'application/yaml']

const MAX_JSON = 1024 * 1024
const MAX_YAML = 256 * 1024

/** The text of policies, and how it is to be read. */
export interface PolicyText {
  readonly type: string
  readonly text: string
}

/**
 * Reads a body that holds policies.
 *
 * @throws RequestError 415, 413 (1 MiB of JSON, 256 KiB of YAML), 400 for what is not UTF-8.
 */
export async function readPolicyText(c: Context<GatewayEnv>): Promise<PolicyText> {
  const body = await readBody(c, { limit: MAX_JSON, types: POLICY_TYPES })
  if (body.type === 'application/yaml' && Buffer.byteLength(body.text) > MAX_YAML) {
    throw tooLarge(`A policy in YAML has at most ${MAX_YAML} bytes`)
  }
  return body
}

/**
 * The policies in a text.
 *
 * @throws ValidationError with the line and column of everything that is wrong.
 */
export function policiesIn({ type, text }: PolicyText): readonly Policy[] {
  if (type === 'application/json') jsonIn(text)
  return parsePolicies(text).policies
}

/**
 * The document of the one policy in a text: as it was sent in JSON, written anew from YAML.
 *
 * @throws ValidationError, also for several.
 */
export function documentIn(sent: PolicyText): PolicyDocument {
  const [policy, ...more] = policiesIn(sent)
  if (policy === undefined || more.length > 0) {
    throw new ValidationError([{ path: [], message: `The text holds ${more.length + 1} policies: put one at a time` }])
  }
  return sent.type === 'application/json' ? (jsonIn(sent.text) as PolicyDocument) : documentOf(policy)
}

/** An issue as it is answered. */
export function issueView({ path, message, line, column }: Issue) {
  return { path: path.join('.'), message, ...(line === undefined ? {} : { line }), ...(column === undefined ? {} : { column }) }
}

function jsonIn(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw new ValidationError([{ path: [], message: `The body is not JSON: ${why}` }])
  }
}
