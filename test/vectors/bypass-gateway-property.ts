import type { AuditEntry } from '../../packages/gateway/src/audit/audit-log.js'
import type { Received } from '../gateway/upstream.js'
import type { Answer, Seen } from './bypass-gateway-world.js'
import type { Vector } from './bypass-vectors.js'

/** What is wrong with what a case led to, in words; empty when nothing is. */
export function gatewayViolations(vector: Vector, seen: Seen): string[] {
  return [
    ...(seen.strayed > 0 ? ['The canary was contacted'] : []),
    ...seen.answers.flatMap(wrongAnswer),
    ...unauthorised(seen),
    ...forbidden(vector, seen),
    ...seen.recorded.flatMap(wrongEntry),
    ...(vector.expected.allowedStatus?.includes(seen.answers[0]?.status ?? 0) === false
      ? [`answered ${seen.answers[0]?.status}, allowed ${vector.expected.allowedStatus}`]
      : []),
  ]
}

const TRACE_ID = /^[A-Za-z0-9._:-]{8,128}$/

/** Every answer has a safe trace ID, the same in header and body; refusals are not stored, and nothing fails. */
function wrongAnswer({ status, headers, body }: Answer): string[] {
  const wrong: string[] = []
  const id = headers['x-meshguard-trace-id']
  if (status >= 500) wrong.push(`failed with ${status}`)
  if (status < 200) return [`${status} was sent`]
  if (id === undefined || !TRACE_ID.test(id)) wrong.push(`the trace ID is ${JSON.stringify(id)}`)
  if (headers['x-evil'] !== undefined) wrong.push('a header was injected')
  if (headers['access-control-allow-origin'] !== undefined) wrong.push('another origin may read the answer')
  if (status >= 400) {
    if (headers['cache-control'] !== 'no-store') wrong.push('a refusal may be stored')
    if (body !== '' && JSON.parse(body).traceId !== id) wrong.push('the trace ID is not in the body')
    if (/ at .*\.[jt]s:|node_modules|\/base\//.test(body)) wrong.push(`the body tells too much: ${body}`)
  }
  return wrong
}

/** Each forwarded request is the one of an allow that was recorded, byte for byte, and says so once. */
function unauthorised({ forwarded, recorded }: Seen): string[] {
  const allows = recorded.filter(({ decision }) => decision === 'allow')
  if (forwarded.length > allows.length) return [`${forwarded.length} requests were forwarded on ${allows.length} allows`]
  return forwarded.flatMap((request, i) => differences(request, allows[i] as AuditEntry))
}

function differences({ method, url, rawHeaders, headers }: Received, entry: AuditEntry): string[] {
  const wrong: string[] = []
  const path = `/base${entry.request?.path?.slice('/proxy'.length)}`
  if (method !== entry.request?.method || url.split('?')[0] !== path) wrong.push(`${method} ${url} was forwarded for ${path}`)
  const said: Readonly<Record<string, unknown>> = {
    'x-meshguard-agent-id': entry.agentId,
    'x-meshguard-action': entry.action,
    'x-meshguard-resource': entry.resource,
    'x-meshguard-trace-id': entry.traceId,
    'x-meshguard-decision': 'allow',
  }
  const names = rawHeaders.filter((_, j) => j % 2 === 0).map((name) => name.toLowerCase())
  for (const [name, value] of Object.entries(said)) if (headers[name] !== value) wrong.push(`${name} is ${headers[name]}`)
  for (const name of names.filter((one) => /^x[-._]meshguard/.test(one))) {
    if (!Object.hasOwn(said, name) || names.indexOf(name) !== names.lastIndexOf(name)) wrong.push(`${name} was forwarded`)
  }
  for (const name of ['authorization', 'cookie', 'x-admin-token', 'upgrade']) {
    if (headers[name] !== undefined) wrong.push(`${name} was forwarded`)
  }
  return wrong
}

/** What a case says must not run is not reached. */
function forbidden({ expected }: Vector, { forwarded }: Seen): string[] {
  const names = expected.mustNotRun ?? []
  return forwarded
    .map(({ method, url }) => `${method} ${url.slice('/base'.length)}`)
    .filter((name) => names.includes('*') || names.includes(name))
    .map((name) => `${name} was reached and must not`)
}

/** An entry is one line, and holds no token. */
function wrongEntry(entry: AuditEntry): string[] {
  const line = JSON.stringify(entry)
  return /[\n\r\u2028\u2029\u009b]|eyJ/.test(line) ? [`An entry is more than a line, or holds a token: ${line}`] : []
}
