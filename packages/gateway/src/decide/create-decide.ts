import { createGuard, type Decision, type DecisionRequest, fromPolicies, type Guard, type Taken } from '@meshguard/core'
import { isPromise } from '@meshguard/core/http'
import { RequestError } from '../http/errors.js'
import type { Asked, Decide, IdentifiedAgent, Services } from '../services.js'
import { entryOf } from './audit-entry.js'
import { policiesInSmallLetters, smallLetters } from './small-letters.js'

type Parts = Pick<Services, 'config' | 'guard' | 'audit' | 'policies' | 'metrics' | 'log' | 'now' | 'identity'>

/**
 * Makes the function that every route decides with: it asks the policies, records the decision, and answers once the record is
 * safe. An allow that cannot be recorded is none.
 *
 * Denials of an agent beyond `DENIED_RPM` are answered 429 `too_many_requests`, and requests without an agent beyond 60 a minute
 * an address are refused as ever; both are counted into summaries instead of being recorded one by one.
 */
export function createDecide(parts: Parts): Decide {
  const { guard, audit, metrics } = parts
  const narrowing = narrowingGuard(parts, parts.policies)
  const caseless = caselessOf(parts)

  const record = async (asked: Asked, decision: Decision, started: number): Promise<Decision> => {
    const durationMs = performance.now() - started
    metrics.decision(decision.decision, decision.code, durationMs / 1000)
    if (isRecorded(parts, asked, decision)) await audit.append(entryOf(asked, decision, guard.mode, durationMs))
    return decision
  }
  return (asked) => {
    const started = performance.now()
    const decision = answer(guard, narrowing, caseless, asked)
    return isPromise(decision) ? decision.then((late) => record(asked, late, started)) : record(asked, decision, started)
  }
}

/**
 * Asks what an agent declares. It shares with the source of the gateway's guard what was compiled of the policies, and counts
 * nothing: a request consumes one unit, for what was derived from it.
 */
function narrowingGuard({ guard }: Parts, policies: Pick<Parts['policies'], 'current'>): Guard | undefined {
  if (guard.mode === 'bypass') return undefined
  return createGuard({ source: fromPolicies(policies, { limiter: { take: () => UNCOUNTED } }), mode: guard.mode })
}

const UNCOUNTED: Taken = Object.freeze({ ok: true, retryAfter: 0 })

/** Asks about a request as it reads to a server to which capitals and small letters are the same. */
interface Caseless {
  readonly guard: Guard
  /** Whether the policies in force have capitals, so that a request without any may read differently to them. */
  isNeeded(): boolean
}

function caselessOf(parts: Parts): Caseless | undefined {
  const { policies } = parts
  const small = policiesInSmallLetters(policies)
  const guard = narrowingGuard(parts, small)
  return guard && { guard, isNeeded: () => small.current() !== policies.current() }
}

function answer(
  guard: Guard,
  narrowing: Guard | undefined,
  caseless: Caseless | undefined,
  asked: Asked,
): Decision | Promise<Decision> {
  const { refuse, spelled } = asked
  const request = requestOf(asked)
  if (refuse !== undefined) return guard.refuse(request, refuse.code, refuse.reason)
  if (spelled === undefined || caseless === undefined) return ask(guard, narrowing, asked, request)
  const isSame = spelled.action === request.action && spelled.resource === request.resource
  if (isSame && !caseless.isNeeded()) return ask(guard, narrowing, asked, request)
  return deniedAs(caseless.guard, asked, request).then((denied) => denied ?? ask(guard, narrowing, asked, request))
}

/** The denial of a rule, to any agent of the chain, of the request in small letters; it names the request as it was sent. */
async function deniedAs(caseless: Guard, { who, spelled }: Asked, request: DecisionRequest): Promise<Decision | undefined> {
  if (who === undefined || spelled === undefined) return undefined
  const { action, resource } = spelled
  const small = { ...spelled, action: smallLetters(action), resource: resource && smallLetters(resource) }
  for (const agent of [...(who.chain ?? []).map(({ from }) => from), who.agent]) {
    const decision = await caseless.decide({ ...request, ...small, agent, delegation: undefined })
    if (decision.code !== 'denied') continue
    return { ...decision, agentId: who.agent.id, action: request.action, resource: request.resource }
  }
  return undefined
}

function ask(
  guard: Guard,
  narrowing: Guard | undefined,
  { declared }: Asked,
  request: DecisionRequest,
): Decision | Promise<Decision> {
  if (declared === undefined || narrowing === undefined) return guard.decide(request)
  const { action, resource = request.resource, context = request.context } = declared
  const narrowed = narrowing.decide({ ...request, action, resource, context })
  if (!isPromise(narrowed)) return narrowed.decision === 'deny' ? narrowed : guard.decide(request)
  return narrowed.then((late) => (late.decision === 'deny' ? late : guard.decide(request)))
}

/** The token is left out: who calls has been established, and a guard must not look again. */
function requestOf({ who, request }: Asked): DecisionRequest {
  const { action, resource, context, request: info, traceId, signal } = request
  return { action, agent: who?.agent, resource, context, request: info, delegation: hopsOf(who), traceId, signal }
}

function hopsOf(who: IdentifiedAgent | undefined): DecisionRequest['delegation'] {
  return who?.chain?.map(({ delegation, from }) => ({ from, actions: delegation.actions }))
}

/**
 * Whether a decision is recorded on its own, or only counted.
 *
 * @throws RequestError 429 for a denial beyond `DENIED_RPM`.
 */
function isRecorded({ audit, config }: Parts, { who, entry, request }: Asked, decision: Decision): boolean {
  if (decision.allowed) return true
  if (who === undefined) {
    const ip = entry?.['ip'] ?? request.request?.ip
    return audit.admitsUnauthenticated(typeof ip === 'string' ? ip : '')
  }
  if (audit.admitsDenial(who.agent.id)) return true
  throw new RequestError(429, 'rate_limited', `More than ${config.deniedRpm} denied requests in a minute`, {
    code: 'too_many_requests',
    headers: { 'retry-after': '60' },
  })
}
