import { type Decision, UnavailableError } from '@meshguard/core'
import { compileResource, refusalBody } from '@meshguard/core/http'
import { badRequest, RequestError } from '../http/errors.js'
import type { Asked, EntryNotes, IdentifiedAgent, ServiceCaller, Services } from '../services.js'
import type { Evaluation } from './authzen-schemas.js'

/** Who asks: an agent for itself, a service for others, or anybody at a gateway that enforces nothing. */
export interface Asker {
  readonly who?: IdentifiedAgent | undefined
  readonly service?: ServiceCaller | undefined
}

/** What an evaluation is answered with. */
export interface Evaluated {
  readonly decision: boolean
  readonly context?: Readonly<Record<string, unknown>>
}

/** An evaluation whose subject was looked up. */
export type Prepared = Pick<Asked, 'who' | 'refuse' | 'request'>

/** A part of a resource is one parameter of a path, and encoded like one. */
const resourceOf = compileResource('/:type/:id', []) as (params: { type: string; id: string }) => string | undefined

/**
 * Reads a question as one about an action, a resource and an agent of the registry, whatever its `type` is called.
 *
 * `properties` become `context.subject`, `context.resource` and `context.action`, and never touch the agent itself. Only a
 * service with the scope `decide` vouches for a subject's properties, or asks for another agent than itself.
 *
 * @throws RequestError 400 for a resource that cannot be written as one; 403 for a question that the caller may not ask.
 */
export async function prepare(
  { identity }: Pick<Services, 'identity'>,
  { subject, action, resource, context }: Evaluation,
  asker: Asker,
  traceId: string,
): Promise<Prepared> {
  const request = {
    action: action.name.includes(':') ? action.name : `${action.name}:${resource.type}`,
    resource: resourceOf({ type: resource.type, id: resource.id }),
    context: { ...context, subject: subject.properties, resource: resource.properties, action: action.properties },
    traceId,
  }
  if (request.resource === undefined) {
    throw badRequest('The resource is not accepted', [
      { path: 'resource', message: 'type and id: 1 to 256 characters, not "." or ".."' },
    ])
  }
  if (asker.who !== undefined) {
    if (subject.id !== asker.who.agent.id) throw needsDecide('ask for another agent')
    if (subject.properties !== undefined) throw needsDecide('state the properties of a subject')
    return { who: asker.who, request }
  }
  if (asker.service === undefined) return { who: undefined, request }
  const agent = await identity.agentById(subject.id)
  if (agent !== undefined) return { who: { agent }, request }
  return { who: undefined, refuse: { code: 'unauthenticated', reason: 'The subject is no agent of the registry' }, request }
}

function needsDecide(what: string): RequestError {
  return new RequestError(403, 'Forbidden', `To ${what} takes a service token with the scope "decide"`)
}

/**
 * Decides and records.
 *
 * @throws UnavailableError when there is no decision; RequestError 429 beyond `DENIED_RPM`.
 */
export async function evaluate(
  { decide }: Pick<Services, 'decide'>,
  prepared: Prepared,
  { service }: Asker,
  entry: EntryNotes,
): Promise<Evaluated> {
  const by: EntryNotes = service === undefined ? { claimed: true } : { service: { id: service.id, name: service.name } }
  const decision = await decide({ ...prepared, entry: { ...entry, ...by } })
  if (decision.code === 'unavailable' && !decision.allowed) {
    throw new UnavailableError(decision.reason ?? 'No decision could be made', { traceId: decision.traceId })
  }
  return { decision: decision.allowed, context: contextOf(decision, prepared.refuse?.reason) }
}

/** What a caller is told of a decision besides what it is. */
function contextOf(decision: Decision, refusedFor: string | undefined): Record<string, unknown> {
  const { code, policy, rule, retryAfter, traceId } = decision
  if (decision.decision === 'allow') return { code, policy, rule, traceId }
  return { code, reason: refusedFor ?? refusalBody(decision, 'full').message, policy, rule, retryAfter, traceId }
}

/** The answer to one of several evaluations that could not be decided: a deny, which says why in its context. */
export function failureOf(error: unknown): Evaluated {
  if (error instanceof RequestError) {
    const { status, message, details } = error
    return { decision: false, context: { error: { status, message, issues: details.issues } } }
  }
  if (error instanceof UnavailableError) {
    return { decision: false, context: { error: { status: 503, message: 'No decision could be made' } } }
  }
  throw error
}
