/** Runs in workerd, without any of Node: each request runs one case, named by its suite and title. */
import type { Hono } from 'hono'
import type { Reply } from '../contracts/adapter/spec.js'
import { lacks } from './lacks.js'
import { failing, outcomeOf, type Runtime, suitesFor } from './suites.js'

const serve: Runtime['serve'] = async (app) => ({
  async request(method, path, headers, body) {
    const request = new Request(`https://worker.example${path}`, { method, headers, body: body ?? null })
    const response = await (app as Hono).fetch(request)
    return replyOf(response.status, Object.fromEntries(response.headers), await response.text())
  },
  close: async () => undefined,
})

function replyOf(status: number, headers: Readonly<Record<string, string>>, text: string): Reply {
  const isJson = headers['content-type']?.includes('json') === true && text !== ''
  return { status, headers, text, json: isJson ? (JSON.parse(text) as Record<string, unknown>) : {} }
}

export default {
  async fetch(request: Request, { STAGE }: { readonly STAGE: string }): Promise<Response> {
    if ('process' in globalThis || 'Buffer' in globalThis) return Response.json({ error: 'This Worker has parts of Node' })
    const { suite, title } = (await request.json()) as { suite: string; title: string }
    const entries = [failing, ...suitesFor({ name: 'workerd', stage: STAGE, serve, lacks: lacks.workerd })]
    const one = entries.find((entry) => entry.suite === suite && entry.title === title)
    return Response.json(one === undefined ? { error: 'There is no such case' } : await outcomeOf(one))
  },
}
