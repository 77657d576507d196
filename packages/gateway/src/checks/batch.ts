import { type Decision, UnavailableError } from '@meshguard/core'
import { isPromise, isTraceId } from '@meshguard/core/http'
import { issuesIn } from '../admin/read-request.js'
import { RequestError } from '../http/errors.js'
import { assertJson } from '../http/read-json.js'
import type { Identity, ServiceCaller, Services } from '../services.js'
import { bearerCaller, type Caller, nobody, refused } from './caller.js'
import { type CheckItem, checkItem } from './check-schemas.js'
import { allowBody, refusalAnswer } from './decision-answer.js'

/** One check of a batch, as far as it has come: its answer as JSON text, or what is needed to decide it. */
type Prepared =
  | string
  | { readonly item: CheckItem; readonly context: unknown; readonly traceId: string; readonly caller: Caller }

/**
 * Decides a batch. What is wrong with one check is the answer to that one alone. All credentials are verified first, and all
 * questions are then asked without a pause: on one policy version, with rate-limit units in the order of the array, and so
 * that their records are committed together.
 *
 * @param traceId Of the request; for the checks that bring none of their own.
 * @returns The answers in order, each the JSON text of an object.
 */
export async function decideBatch(
  services: Pick<Services, 'identity' | 'decide' | 'guard'>,
  checks: readonly unknown[],
  service: ServiceCaller,
  traceId: string,
): Promise<string[]> {
  const prepared = await Promise.all(checks.map((check) => prepare(services, check, traceId)))
  const asked = prepared.map((one) => (typeof one === 'string' ? one : ask(services.decide, one, service)))
  return Promise.all(asked)
}

function prepare(
  services: Pick<Services, 'identity' | 'guard'>,
  check: unknown,
  fallback: string,
): Prepared | Promise<Prepared> {
  const own = (check as { traceId?: unknown }).traceId
  const traceId = isTraceId(own) ? own : fallback
  const read = checkItem.safeParse(check)
  if (!read.success) {
    const issues = issuesIn(read.error, checkItem, check).map(({ path, message }) => ({ path: path.join('.'), message }))
    return itemOf(400, { error: 'bad_request', message: 'The check is not well formed', issues, traceId })
  }
  const { context } = check as { context?: unknown }
  const ready = (caller: Caller): Prepared => ({ item: read.data, context, traceId, caller })
  const failed = (error: unknown): Prepared => failureOf(error, traceId)
  try {
    const caller = callerOfItem(services, read.data)
    return isPromise(caller) ? caller.then(ready).catch(failed) : ready(caller)
  } catch (error) {
    return failed(error)
  }
}

/** The agent of a check: by its own token, or by the id that the service vouches for. Where both are given they must agree. */
function callerOfItem(
  { identity, guard }: Pick<Services, 'identity' | 'guard'>,
  { token, agentId }: CheckItem,
): Caller | Promise<Caller> {
  const agreeing = (caller: Caller) =>
    caller.who === undefined || agentId === undefined || caller.who.agent.id === agentId
      ? caller
      : refused('The token is not that of the agent')
  if (token !== undefined) {
    const caller = bearerCaller(identity, token)
    return isPromise(caller) ? caller.then(agreeing) : agreeing(caller)
  }
  if (agentId === undefined) return nobody(guard.mode)
  const known = (agent: Awaited<ReturnType<Identity['agentById']>>): Caller =>
    agent === undefined ? refused('No such agent') : { who: { agent }, sentToken: false, refuse: undefined }
  const agent = identity.agentById(agentId)
  return isPromise(agent) ? agent.then(known) : known(agent)
}

async function ask(
  decide: Services['decide'],
  { item, context, traceId, caller }: Exclude<Prepared, string>,
  { id, name }: ServiceCaller,
): Promise<string> {
  try {
    if (caller.refuse === undefined) assertJson(context, undefined, 'The context')
    const { action, resource, request } = item
    const decision = await decide({
      who: caller.who,
      refuse: caller.refuse,
      request: { action, resource, context: context as CheckItem['context'], request, traceId },
      entry: { service: { id, name } },
    })
    return decided(decision, caller.sentToken)
  } catch (error) {
    return failureOf(error, traceId)
  }
}

function decided(decision: Decision, sentToken: boolean): string {
  const { agentId, policyVersion } = decision
  if (!decision.allowed) {
    const { status, body } = refusalAnswer(decision, sentToken, undefined)
    return `{"status":${status},${agentId === undefined ? '' : `"agentId":${JSON.stringify(agentId)},`}${body.slice(1)}`
  }
  const audited = decision.decision === 'deny' ? { audit: 'deny' } : {}
  return itemOf(200, { agentId, ...allowBody(decision), policyVersion, ...audited })
}

/** The answer to a check that could not be decided. */
function failureOf(error: unknown, traceId: string): string {
  if (error instanceof RequestError) {
    const { status, error: name, message, details } = error
    return itemOf(status, { error: name, code: details.code, message, issues: details.issues, traceId })
  }
  if (error instanceof UnavailableError) {
    return itemOf(503, { error: 'unavailable', message: 'No decision could be made', traceId })
  }
  throw error
}

function itemOf(status: number, body: Readonly<Record<string, unknown>>): string {
  return JSON.stringify({ status, ...body })
}
