import type { Observation, Run } from './bypass-app.js'
import type { Observed, Vector } from './bypass-vectors.js'

const TRACE_ID = /^[A-Za-z0-9._:-]{8,128}$/

/** What is wrong with the way an app answered a case, in words; empty when nothing is. */
export function violations(vector: Vector, variant: string, seen: Observation): string[] {
  return [
    ...forbidden(vector, seen),
    ...unchecked(seen),
    ...wrongAnswer(vector, seen),
    ...wrongStatus(vector, seen),
    ...otherThanObserved(vector, variant, seen),
  ]
}

const nameOf = ({ route }: Run) => `${route.method} ${route.pattern}`

/** Handlers that must not run for this case, whatever was decided. */
export function forbidden({ expected }: Vector, { ran }: Observation): string[] {
  const names = expected.mustNotRun ?? []
  return ran
    .map(nameOf)
    .filter((name) => names.includes('*') || names.includes(name))
    .map((name) => `${name} ran and must not`)
}

/** Each handler has exactly one allow decision of its own, recorded just before it. */
function unchecked({ ran, decided }: Observation): string[] {
  const wrong: string[] = []
  for (const [i, run] of ran.entries()) {
    const { route, last, decidedSoFar } = run
    const name = nameOf(run)
    if (decidedSoFar !== i + 1 || last === undefined) {
      wrong.push(`${name} ran after ${decidedSoFar} decisions instead of ${i + 1}`)
      continue
    }
    const method = last.request?.method
    if (!last.allowed || last.decision !== 'allow') wrong.push(`${name} ran after a denial`)
    if (last.action !== route.action) wrong.push(`${name} ran after ${last.action} was allowed`)
    if (route.method !== 'ALL' && method !== route.method) wrong.push(`${name} ran after a decision on ${method}`)
    if (last.request?.route.replace(/\*\w+$/, '*') !== route.pattern)
      wrong.push(`${name} ran after a decision on ${last.request?.route}`)
    if (!fits(last.resource, run)) wrong.push(`${name} ran with the resource ${last.resource}`)
  }
  const denials = decided.filter(({ allowed }) => !allowed).length
  if (decided.length !== ran.length + denials || denials > 1)
    wrong.push(`${decided.length} decisions for ${ran.length} handlers`)
  return wrong
}

/** The resource as the setup writes it, from the parameters that the handler itself was given. */
function fits(resource: string | undefined, { route, params }: Run): boolean {
  const wildcard = params['path'] ?? params['*']
  if (route.resource.includes('{*}') && wildcard === undefined) {
    return resource?.startsWith(route.resource.slice(0, route.resource.indexOf('{'))) === true
  }
  const expected = route.resource.replace(/\{([\w*]+)\}/g, (_, name: string) =>
    name === '*'
      ? [wildcard]
          .flatMap((value) => (Array.isArray(value) ? value : String(value).split('/')))
          .map((part) => encodeURIComponent(String(part)))
          .join('/')
      : encodeURIComponent(String(params[name])),
  )
  return resource === expected
}

/** A denial says so with its trace ID, and nothing of ours is a 5xx but 503. */
function wrongAnswer({ rawRequest }: Vector, { reply, decided, ran }: Observation): string[] {
  const denial = decided.find(({ allowed }) => !allowed)
  if (denial === undefined) {
    const ours = reply.status >= 500 && !(reply.status === 501 && decided.length === 0)
    return ours ? [`status ${reply.status} without a denial`] : []
  }
  const wrong: string[] = []
  const [status, id] = [
    { unauthenticated: 401, unavailable: 503, invalid_action: 400, rate_limited: 429 }[denial.code as string] ?? 403,
    denial.traceId,
  ]
  if (reply.status !== status) wrong.push(`status ${reply.status} for ${denial.code}`)
  if (reply.headers['x-meshguard-trace-id'] !== id) wrong.push('the trace ID is not in the header')
  if (reply.json['traceId'] !== id && !rawRequest.startsWith('HEAD ')) wrong.push('the trace ID is not in the body')
  if (!TRACE_ID.test(id)) wrong.push(`the trace ID is ${JSON.stringify(id)}`)
  if (reply.headers['cache-control'] !== 'no-store') wrong.push('a denial may be cached')
  if (reply.headers['x-evil'] !== undefined) wrong.push('a header was injected')
  if (/secret|\/etc\/|p-low|low-read| at .*\.[jt]s:/.test(reply.text)) wrong.push(`the body tells too much: ${reply.text}`)
  if (ran.length >= decided.length) wrong.push('a handler ran behind the denial')
  return wrong
}

function wrongStatus({ expected, id }: Vector, { reply }: Observation): string[] {
  if (expected.allowedStatus === undefined || expected.allowedStatus.includes(reply.status)) return []
  return [`${id} is answered ${reply.status}`]
}

/** Where a wildcard is spelled so that it needs a segment, this is not found. */
const NEEDS_A_SEGMENT = new Set(['path-proxy-nosl'])

/** Under policy the status is one of those foreseen (or a denial), and what no framework dispatches runs nothing. */
function otherThanObserved({ expected, id }: Vector, variant: string, { reply, ran }: Observation): string[] {
  const all = expected.observedWithoutGuard
  const observed: Observed | undefined = typeof all === 'object' ? all[variant] : undefined
  if (observed === undefined) return []
  const wrong: string[] = []
  const extra = ran.map(nameOf).filter((name) => !observed.frameworkRuns.includes(name))
  if (extra.length > 0) wrong.push(`${extra.join(', ')} ran, which the bare framework did not run`)
  const foreseen = observed.statusUnderPolicy
  if (typeof foreseen === 'string') {
    if (reply.status !== 0 && reply.status < 300 && !reply.headers['allow'])
      wrong.push(`status ${reply.status}, and no handler was foreseen`)
  } else if (!foreseen.includes(reply.status) && reply.status !== 403 && !(NEEDS_A_SEGMENT.has(id) && reply.status === 404))
    wrong.push(`status ${reply.status}, foreseen ${foreseen.join(' or ')}`)
  return wrong
}

/**
 * Whoever may do everything reaches what the bare app runs, unless the request is malformed: a guard only ever takes away.
 *
 * @param bare What the same app did without a guard.
 */
export function otherThanBare({ ran, reply }: Observation, bare: Observation): string[] {
  const [now, then] = [ran.map(nameOf).join(', '), bare.ran.map(nameOf).join(', ')]
  return now === then || reply.status === 400 ? [] : [`${now || 'nothing'} ran instead of ${then || 'nothing'}`]
}
