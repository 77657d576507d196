import { type Authenticate, createGuard, type DecisionEvent, type DecisionSource } from '@meshguard/core'
import { bindings, type Framework } from '../adapters/bindings.js'
import { build, type Kit, type Site } from '../contracts/adapter/build.js'
import { check, handler } from '../contracts/adapter/items.js'
import type { AppSpec, Facts, Item, Reply, Step } from '../contracts/adapter/spec.js'
import type { World } from '../contracts/adapter/world.js'
import type { Served } from '../contracts/adapter.js'
import { demoRoutes, type VectorRoute } from './bypass-vectors.js'

/** A handler that ran: which, with which parameters, and what had been decided until then. */
export interface Run {
  readonly route: VectorRoute
  readonly params: Readonly<Record<string, unknown>>
  readonly decidedSoFar: number
  readonly last: DecisionEvent | undefined
}

/** What one request led to. */
export interface Observation {
  readonly reply: Reply
  readonly ran: readonly Run[]
  readonly decided: readonly DecisionEvent[]
}

/** An app that is replayed to. */
export interface Target {
  readonly world: World
  replay(bytes: string, timeoutMs?: number): Promise<Observation>
  close(): Promise<void>
}

/** The routers of each framework as it is by default, and at its most or least lenient. */
export const variants: Readonly<Record<Framework, Readonly<Record<string, unknown>>>> = {
  express: { express: {}, 'express-sensitive-strict': { 'case sensitive routing': true, 'strict routing': true } },
  koa: { koa: {}, 'koa-exclusive': { exclusive: true } },
  hono: { hono: {}, 'hono-nonstrict': { strict: false } },
  fastify: {
    fastify: {},
    'fastify-lenient': {
      routerOptions: {
        ignoreTrailingSlash: true,
        ignoreDuplicateSlashes: true,
        caseSensitive: false,
        useSemicolonDelimiter: true,
      },
    },
  },
}

/** A guard of which everything is recorded. */
export function worldOf(source: DecisionSource, authenticate: Authenticate): World {
  const decided: DecisionEvent[] = []
  const audit = (event: { type: string }) => {
    if (event.type === 'decision') decided.push(event as DecisionEvent)
  }
  const guard = createGuard({ source, authenticate, timeoutMs: 80, audit })
  return { guard, decided, asked: [], ran: [] }
}

/** Everything that handlers of an app record. */
export interface Recorder {
  readonly ran: Run[]
  /** A handler of a route that records itself, behind nothing. */
  item(route: VectorRoute, effect?: 'next'): Item
}

export function recorderOf(world: World): Recorder {
  const ran: Run[] = []
  const item = (route: VectorRoute, effect?: 'next') =>
    handler(({ params }: Facts) => {
      ran.push({ route, params: { ...params }, decidedSoFar: world.decided.length, last: world.decided.at(-1) })
      return effect ?? { body: { ran: `${route.method} ${route.pattern}` } }
    })
  return { ran, item }
}

/** The demo app. `guarded: false` leaves the routes' own checks out, for guards that are none of ours. */
export function demoApp(kit: Kit, recorder: Recorder, guarded = true): AppSpec {
  const under = (prefix: string) => demoRoutes.filter(({ pattern }) => pattern.startsWith(`${prefix}/`))
  const mounts: Readonly<Record<string, string>> = { '/admin': 'admin', '/api/v1': 'api', '/tenants/:tenant': 'tenants' }
  const mounted = new Set(Object.keys(mounts).flatMap(under))
  const step = (route: VectorRoute, prefix = ''): Step => {
    const pattern = `${route.pattern.slice(prefix.length)}`.replace(/\*$/, '*path')
    const declared = route.resource.includes('{') ? check(route.action) : check(route.action, { resource: route.resource })
    const handled = recorder.item(route, route.pattern === '/ft/special' ? 'next' : undefined)
    return { route: `${route.method} ${pattern}`, items: guarded ? [declared, handled] : [handled] }
  }
  const own = demoRoutes.filter((route) => !mounted.has(route) && (route.pattern !== '/ft/special' || kit.features.has('next')))
  return {
    whole: guarded,
    steps: [...own.map((route) => step(route)), ...Object.entries(mounts).map(([mount, router]): Step => ({ mount, router }))],
    routers: Object.fromEntries(
      Object.entries(mounts).map(([mount, router]) => [router, under(mount).map((route) => step(route, mount))]),
    ),
  }
}

/** Builds and serves an app. */
export async function serveApp(
  framework: Framework,
  world: World,
  recorder: Recorder,
  spec: AppSpec,
  options?: unknown,
  before?: (site: Site) => void,
): Promise<Target> {
  const binding = bindings[framework]
  const { app } = build(binding.kit, spec, world, options, before)
  const served: Served = await binding.serve(app)
  return {
    world,
    async replay(bytes, timeoutMs) {
      world.decided.length = 0
      recorder.ran.length = 0
      const reply = await (served.send as NonNullable<Served['send']>)(bytes, timeoutMs)
      return { reply, ran: [...recorder.ran], decided: [...world.decided] }
    },
    close: () => served.close(),
  }
}
