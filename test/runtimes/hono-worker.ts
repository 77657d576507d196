/** Runs in workerd: each request runs one case of the adapter contract over Hono and answers what is wrong with it. */
import type { Hono } from 'hono'
import { kit } from '../adapters/hono.js'
import type { Reply } from '../contracts/adapter/spec.js'
import { type Binding, casesFor, runCase } from '../contracts/adapter.js'
import { assert } from '../contracts/assert.js'

const binding: Binding = {
  kit,
  features: [],
  async serve(app) {
    const { fetch } = app as Hono
    return {
      async request(method, path, headers, body) {
        const response = await fetch(new Request(`https://worker.example${path}`, { method, headers, body: body ?? null }))
        return replyOf(response.status, Object.fromEntries(response.headers), await response.text())
      },
      close: async () => undefined,
    }
  },
}

function replyOf(status: number, headers: Readonly<Record<string, string>>, text: string): Reply {
  const isJson = headers['content-type']?.includes('json') === true && text !== ''
  return { status, headers, text, json: isJson ? (JSON.parse(text) as Record<string, unknown>) : {} }
}

export default {
  async fetch(request: Request): Promise<Response> {
    const title = decodeURIComponent(new URL(request.url).pathname.slice(1))
    const one = casesFor(binding)
      .flatMap(([, cases]) => cases)
      .find((candidate) => candidate.title === title)
    if (one === undefined) return Response.json({ error: `There is no case "${title}"` })
    try {
      await runCase(one, binding, assert)
      return Response.json({})
    } catch (error) {
      return Response.json({ error: error instanceof Error ? `${error.message}\n${error.stack}` : String(error) })
    }
  },
}
