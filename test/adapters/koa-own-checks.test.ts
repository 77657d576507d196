import Router, { type RouterContext } from '@koa/router'
import { agentOf, decisionOf } from '@meshguard/koa'
import Koa, { type Next } from 'koa'
import { ScriptTarget, transpileModule } from 'typescript'
import { describe, expect, expectTypeOf, test } from 'vitest'
import { protectFor, says, serve } from './koa-tools.js'

describe('own checks', () => {
  test('a check in front of nested routes is added to theirs', async () => {
    const { protect, asked } = protectFor(['admin:enter', 'read:admin/users'])
    const users = new Router()
    users.get('/users', says('users')).post('/users', says('never'))
    const router = protect(new Router())
    router.use('/admin', protect('admin:enter'), users.routes())
    const request = await serve(protect(new Koa()).use(router.routes()))
    expect((await request('GET /admin/users')).status).toBe(200)
    expect((await request('POST /admin/users')).status).toBe(403)
    expect(asked.map(({ action, resource }) => [action, resource])).toEqual([
      ['admin:enter', 'admin'],
      ['read:admin/users', 'admin/users'],
      ['admin:enter', 'admin'],
      ['write:admin/users', 'admin/users'],
    ])
  })

  test('one check on two routes knows which of them it stands in', async () => {
    const { protect, asked } = protectFor(['read:a', 'write:b'])
    const derived = protect()
    const router = protect(new Router())
    router.get('/a/:id', derived, says('a')).post('/b', derived, says('b'))
    const request = await serve(protect(new Koa()).use(router.routes()))
    await request('GET /a/1')
    await request('POST /b')
    expect(asked.map(({ action, resource }) => [action, resource])).toEqual([
      ['read:a', 'a/1'],
      ['write:b', 'b'],
    ])
  })

  test('a check works on a router that is not protected as a whole', async () => {
    const { protect } = protectFor(['read:reports'])
    const router = new Router()
    router.get('/reports/:id', protect(), says('ok')).post('/reports/:id', protect(), says('never')).get('/free', says('free'))
    const request = await serve(new Koa().use(router.routes()))
    expect((await request('GET /reports/1')).status).toBe(200)
    expect((await request('POST /reports/1')).status).toBe(403)
    expect((await request('GET /free')).status).toBe(200)
  })

  test('what only makes sense on a route throws in use()', () => {
    const { protect } = protectFor([])
    const nested = new Router()
    const router = protect(new Router())
    expect(() => router.use(protect())).toThrow(/verb:object/)
    expect(() => router.use(protect.open('all'))).toThrow(/protect\.open/)
    expect(() => router.use('/x', protect.open('all'), nested.routes())).toThrow(/protect\.open/)
    expect(() => protect(new Koa()).use(protect.open('all'))).toThrow(/protect\.open/)
    expect(() => protect(new Koa().use(protect()))).toThrow(/verb:object/)
    expect(() => protect.open('all', nested.routes() as never)).toThrow(/router/)
    expect(() => protect(new Router().use(protect.open('all')))).toThrow(/protect\.open/)
    expect(() => protect.routes(new Koa())).toThrow(/call protect/)
  })

  test('a check given to the application has no route of an earlier router for a resource', async () => {
    const { protect, asked } = protectFor(['read:early', 'enter:app'])
    const early = new Router()
    early.get('/early/:id', (_ctx, next) => next())
    const app = protect(new Koa()).use(early.routes()).use(protect('enter:app')).use(says('after'))
    const request = await serve(app)
    expect((await request('GET /early/1')).status).toBe(200)
    expect(asked.map(({ action, resource }) => [action, resource])).toEqual([
      ['read:early', 'early/1'],
      ['enter:app', undefined],
    ])
  })

  const CONTROLLER = `
    class Contacts {
      name = 'contacts'
      @protect('list:contacts') list(ctx) { ctx.body = this.name }
      @protect('remove:contacts') async remove(ctx) { ctx.body = 'removed' }
    }
    return new Contacts()`

  test.each([false, true])(
    'decorated methods are checked, keep this, and are the check of their route (legacy: %s)',
    async (legacy) => {
      const { protect, asked } = protectFor(['list:contacts'])
      const { outputText } = transpileModule(CONTROLLER, {
        compilerOptions: { target: ScriptTarget.ES2022, experimentalDecorators: legacy },
      })
      const create = new Function('protect', outputText) as (protect: unknown) => Record<'list' | 'remove', () => void>
      const controller = protect.bind(create(protect))
      const router = protect(new Router())
      router.get('/contacts', controller.list).delete('/contacts/:id', controller.remove)
      router.get('/arrow', protect.open('the method checks'), (...args) => Reflect.apply(controller.remove, undefined, args))
      const request = await serve(protect(new Koa()).use(router.routes()))
      expect(await (await request('GET /contacts')).text()).toBe('contacts')
      expect((await request('DELETE /contacts/1')).status).toBe(403)
      expect((await request('GET /arrow')).status).toBe(403)
      expect(asked.map(({ action }) => action)).toEqual(['list:contacts', 'remove:contacts', 'remove:contacts'])
      expect(protect.routes(router).map(({ action, declared }) => [action, declared])).toEqual([
        ['list:contacts', true],
        ['remove:contacts', true],
        [undefined, undefined],
      ])
    },
  )

  test('a decorated field is checked, and a legacy one refused', async () => {
    const { protect } = protectFor([])
    const source = "class C { @protect('show:contacts') show = (ctx) => { ctx.body = 'shown' } }; return new C()"
    const compile = (experimentalDecorators: boolean) =>
      new Function('protect', transpileModule(source, { compilerOptions: { target: 9, experimentalDecorators } }).outputText)
    const router = new Router()
    router.get('/contacts', compile(false)(protect).show)
    const request = await serve(new Koa().use(router.routes()))
    expect((await request('GET /contacts')).status).toBe(403)
    expect(() => compile(true)(protect)).toThrow(/legacy/)
  })
})

test('types: protect keeps what it is given, checks stand in typed routers, and wrong options do not compile', () => {
  const { protect } = protectFor([])
  interface State {
    user: string
  }
  const app = protect(new Koa<State, { extra: number }>())
  const router = protect(new Router<State, { extra: number }>())
  expectTypeOf(app).toEqualTypeOf<Koa<State, { extra: number }>>()
  router.get('/a/:id', protect('read:a', { resource: (ctx) => `a/${ctx.params.id}` }), (ctx) => {
    expectTypeOf(ctx.state.user).toEqualTypeOf<string>()
    expectTypeOf(ctx.extra).toEqualTypeOf<number>()
    expectTypeOf(decisionOf(ctx)?.allowed).toEqualTypeOf<boolean | undefined>()
  })
  router.get('/open', protect.open('because'), (ctx: RouterContext<State, { extra: number }>) => agentOf(ctx))
  app.use(protect.open('assets', async (_ctx: Koa.ParameterizedContext<State>, next: Next) => next()))
  // @ts-expect-error an option that does not exist
  expect(() => protect('read:a', { ressource: 'x' })).toThrow(TypeError)
  // @ts-expect-error an action that is a number
  expect(() => protect(1)).toThrow(TypeError)
  // @ts-expect-error a dynamic action must say so
  expect(() => protect({ action: () => 'read:a' })).toThrow(TypeError)
  // @ts-expect-error a reason is needed
  expect(() => protect.open()).toThrow(TypeError)
})
