import type { Router } from 'express'
import type Koa from 'koa'
import { bindings, type Framework } from '../adapters/bindings.js'
import type { Site } from '../contracts/adapter/build.js'
import { answers, app } from '../contracts/adapter/items.js'
import type { AppSpec, Step } from '../contracts/adapter/spec.js'
import { demoApp, type Recorder } from './bypass-app.js'
import type { VectorRoute } from './bypass-vectors.js'

/** An app that is put together in a dangerous way. It may throw while it is built; otherwise it must hold. */
export interface Configuration {
  readonly spec: AppSpec
  readonly options?: unknown
  readonly before?: (site: Site) => void
}

const read = (pattern: string, action: string, resource: string): VectorRoute => ({ method: 'GET', pattern, action, resource })
const admin = read('/admin', 'read:admin', 'admin')
const step = (recorder: Recorder, route: VectorRoute, path = route.pattern): Step => ({
  route: `GET ${path}`,
  items: [recorder.item(route)],
})
const late = (recorder: Recorder): Configuration => ({ spec: app([], step(recorder, admin), { protect: 'app' }) })

const nested = read('/o/:org/teams/:team/contacts/:id', 'read:o/teams/contacts', 'o/{org}/teams/{team}/contacts/{id}')
const shadowed = read('/tenants/:id/contacts/:id', 'read:tenants/contacts', 'tenants/A/contacts/B')

/** By the name of the case. */
export const configurations: Readonly<Record<string, (framework: Framework, recorder: Recorder) => Configuration>> = {
  'cfg-express-guard-after-route': (_, recorder) => late(recorder),
  'cfg-hono-guard-after-route': (_, recorder) => late(recorder),
  'cfg-koa-exclusive': (_, recorder) => ({ spec: app([], step(recorder, admin)), options: { exclusive: true } }),
  'cfg-fastify-child-before': (_, recorder) => ({
    spec: {
      ...app([], { mount: '', router: 'early' }, { protect: 'app' }),
      routers: { early: [step(recorder, read('/early', 'read:early', 'early'))] },
    },
  }),
  'cfg-express-method-override': (framework, recorder) => ({
    spec: demoApp(bindings[framework].kit, recorder),
    before: ({ native }) =>
      (native as Router).use((req, _res, next) => {
        req.method = req.get('x-http-method-override') ?? req.method
        next()
      }),
  }),
  'cfg-koa-method-rewrite': (framework, recorder) => ({
    spec: demoApp(bindings[framework].kit, recorder),
    before: ({ native }) =>
      (native as Koa).use((ctx, next) => {
        ctx.method = ctx.get('x-http-method-override') || ctx.method
        return next()
      }),
  }),
  'cfg-express-nested-mounts': (_, recorder) => ({
    spec: {
      ...app([], { mount: '/o/:org', router: 'a' }),
      routers: {
        a: [{ mount: '/teams', router: 'b' }],
        b: [{ mount: '/:team/contacts', router: 'c' }],
        c: [step(recorder, nested, '/:id')],
      },
    },
  }),
  'cfg-express-param-shadow': (_, recorder) => ({
    spec: {
      ...app([], { mount: '/tenants/:id', router: 'tenant' }),
      routers: { tenant: [step(recorder, shadowed, '/contacts/:id')] },
    },
  }),
  'cfg-express-nonroute': (framework) => {
    const file = answers({ body: 'the contents of secret.txt' }, 'static')
    return { spec: app([], framework === 'express' ? { use: [file], at: '/static' } : { use: [file] }) }
  },
  'cfg-express-unprotected-subrouter': (_, recorder) => ({
    spec: {
      ...app([], { mount: '/x', router: 'sub' }),
      routers: { sub: [step(recorder, read('/x/admin', 'read:x/admin', 'x/admin'), '/admin')] },
    },
  }),
}
