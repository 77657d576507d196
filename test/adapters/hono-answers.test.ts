import { Hono } from 'hono'
import { HTTPException } from 'hono/http-exception'
import { describe, expect, it, vi } from 'vitest'
import { ask, ok, protectFor, statusOf } from './hono-tools.js'

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

describe('an outcome that comes too late', () => {
  it('runs no handler when a time-out has answered meanwhile', async () => {
    let answer: (context: Record<string, unknown>) => void = () => {}
    const context = new Promise<Record<string, unknown>>((resolve) => {
      answer = resolve
    })
    const { guard, protect } = protectFor(['read:x'], { context: () => context })
    const app = protect(new Hono())
    const ran = vi.fn(ok)
    let behind: Promise<void> | undefined
    app.use(async (_c, next) => {
      behind = next()
      throw new HTTPException(504)
    })
    app.get('/x', ran)
    expect(await statusOf(app, 'GET /x')).toBe(504)
    answer({})
    await behind
    expect(guard.decisions.map(({ code }) => code)).toEqual(['allowed'])
    expect(ran).not.toHaveBeenCalled()
  })
})
