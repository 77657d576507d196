import { Body, type Call, type CreateTransport, failureOf, type GatewayAnswer, malformed } from './transport.js'

/** A transport of `fetch`, for every runtime that has it. */
export const createTransport: CreateTransport = (gateway) => ({
  async send({ method, path, headers, body }, call) {
    const ended = new AbortController()
    call.onEnd((reason) => ended.abort(reason))
    const init: RequestInit = { method, headers, redirect: 'manual', signal: ended.signal, body: body ?? null }
    const response = await fetch(gateway.origin + gateway.base + path, init).catch((error: unknown) => {
      throw call.reason ?? failureOf(gateway, error)
    })
    const text = await textOf(response, call).catch(() => {
      throw call.reason ?? malformed(gateway, 'gave an answer that is cut off or not UTF-8')
    })
    if (text === undefined) throw malformed(gateway, 'gave an answer that is too long')
    return answerOf(response, text)
  },
})

function answerOf({ status, headers }: Response, text: string): GatewayAnswer {
  return { status, header: (name) => headers.get(name) ?? undefined, text }
}

/** `undefined` for a body that is too long; the rest of it is not read. */
export async function textOf({ body }: Response, call: Call, max?: number): Promise<string | undefined> {
  const read = new Body(max)
  const reader = body?.getReader()
  for (let chunk = await reader?.read(); chunk?.value !== undefined; chunk = await reader?.read()) {
    if (call.reason !== undefined || !read.add(chunk.value)) {
      await reader?.cancel()
      return undefined
    }
  }
  return read.text()
}
