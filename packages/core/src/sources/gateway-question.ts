/** A check as it is sent to a gateway: as headers of `GET /proxy/check`, or as one item of `POST /v1/checks`. */
import { escaped } from '../audit-line.js'
import type { Answer, DecisionRequest } from '../types.js'

/** A check that can be sent; or the answer to one that cannot. */
export type Written<T> = { readonly written: T } | { readonly refused: Answer }

/** Bytes of context that the gateway reads in a header. */
const MAX_CONTEXT_HEADER = 4096
/** Bytes of one check among many; the gateway reads 1 MiB of them. */
const MAX_ITEM = 65_536

/** A value that a header carries unchanged: printable ASCII that neither begins nor ends with a space. */
const HEADER_VALUE = /^[!-~](?:[ -~]*[!-~])?$/

/** The headers that ask for one agent's check on its own. What they say of resource and context counts as claimed by the agent. */
export function headersOf({ token, action, resource, context, traceId }: DecisionRequest): Written<Record<string, string>> {
  const headers: Record<string, string> = {
    accept: 'application/json',
    authorization: `Bearer ${token}`,
    'x-meshguard-action': action,
    'x-meshguard-trace-id': traceId,
  }
  if (resource !== undefined) {
    if (!HEADER_VALUE.test(resource)) return refuse('The resource cannot be sent in a header: it takes a service token')
    headers['x-meshguard-resource'] = resource
  }
  if (context !== undefined) {
    const json = jsonOf(context)
    if (json === undefined) return refuse('The context cannot be written as JSON')
    if (json.length > MAX_CONTEXT_HEADER) return refuse('The context is over 4 KiB: it takes a service token')
    headers['x-meshguard-context'] = json
  }
  return { written: headers }
}

/** The JSON that asks for one check among others. Without a token of its own it names its agent by id. */
export function itemOf({ token, agent, action, resource, context, request, traceId }: DecisionRequest): Written<string> {
  const agentId = token === undefined ? agent?.id : undefined
  const json = jsonOf({ token, agentId, action, resource, context, request, traceId })
  if (json === undefined) return refuse('The context cannot be written as JSON')
  return json.length > MAX_ITEM ? refuse('The check is over 64 KiB') : { written: json }
}

function refuse(reason: string): { refused: Answer } {
  return { refused: { allowed: false, code: 'unavailable', reason } }
}

/** JSON in ASCII, so that its length is its bytes and a header can hold it; `undefined` for what is none. */
function jsonOf(value: object): string | undefined {
  try {
    const json: string | undefined = JSON.stringify(value)
    return json?.replace(/[\x7f-\uffff]/g, escaped)
  } catch {
    return undefined
  }
}
