import { Hono } from 'hono'
import { describe, expect, it } from 'vitest'
import { ask, ok, protectFor } from './hono-tools.js'

describe('answers of onDenied', () => {
  it('are replaced by the default where they cannot be sent', async () => {
    const used = new Response('no', { status: 403 })
    await used.text()
    const plain = { status: 403, headers: {}, body: 'no' }
    for (const own of [plain, { ...plain, headers: undefined }, Response.error(), used, 'no', undefined]) {
      for (const onDenied of [() => own, () => Promise.resolve(own)]) {
        const app = protectFor([], { onDenied }).protect(new Hono()).get('/x', ok)
        const answer = await ask(app, 'GET /x')
        expect([answer.status, JSON.parse(answer.text).error]).toEqual([403, 'Forbidden'])
      }
    }
  })
})
