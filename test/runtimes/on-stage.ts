/** The bindings of the source and client contracts that need nothing but `fetch`: what they talk to is on the stage, in Node. */
import { type DecisionSource, fromGateway, fromPolicies } from '@meshguard/core'
import type { Binding as ClientBinding } from '../contracts/client.js'
import type { Binding as SourceBinding, SourceWorld } from '../contracts/source.js'
import { gatewayCan, policiesCan, type Way } from '../sources/features.js'
import type { Who } from './stage.js'

async function call<T>(url: string, method: string, body?: unknown): Promise<T> {
  const init = body === undefined ? { method } : { method, body: JSON.stringify(body) }
  const response = await fetch(url, init)
  if (!response.ok) throw new Error(`${method} ${url} answered ${response.status}: ${await response.text()}`)
  return (await response.json()) as T
}

/** A scripted gateway of its own for each case. */
export const scriptedOn = (stage: string, name: string): ClientBinding => ({
  name,
  async start() {
    const { id, url } = await call<{ id: string; url: string }>(`${stage}/scripted`, 'POST', {})
    const at = `${stage}/scripted/${id}`
    return {
      url,
      answer: (...replies) => call(at, 'PUT', replies),
      received: () => call(at, 'GET'),
      close: () => call(at, 'DELETE'),
    }
  },
})

/** Policies in the process, by a clock that the cases move. */
export const policiesHere: SourceBinding = {
  name: 'fromPolicies',
  features: policiesCan,
  async open({ policies }) {
    let source = fromPolicies([...policies])
    let now = 0
    return {
      get source() {
        const { name, decide, decideMany, explain } = source
        return {
          name,
          decide: (request) => decide(request, now),
          decideMany: (requests) => decideMany(requests, now),
          explain: (request) => explain(request, now),
        } satisfies DecisionSource
      },
      as: (agent) => ({ agent }),
      moveTo: async (ms) => {
        now = ms
      },
      replace: async (documents) => {
        source = fromPolicies([...documents])
      },
    }
  },
}

/** A real gateway in Node, asked from here. */
export const gatewayOn = (stage: string, way: Way): SourceBinding => ({
  name: `fromGateway by ${way}`,
  features: gatewayCan(way),
  async open(setup): Promise<SourceWorld> {
    const at = `${stage}/gateways/${encodeURIComponent(way)}`
    const opened = await call<{ url: string; service?: string; who: Who }>(at, 'POST', setup)
    let { who } = opened
    return {
      source: fromGateway({ url: opened.url, token: opened.service, timeoutMs: 10_000 }),
      as: ({ id }) => who[id] ?? {},
      moveTo: async (now) => {
        ;({ who } = await call<{ who: Who }>(`${at}/clock`, 'PUT', { now }))
      },
      replace: (documents) => call(`${at}/policies`, 'PUT', documents),
    }
  },
})
