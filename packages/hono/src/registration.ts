import { isPromise, type OwnCheck } from '@meshguard/core/http'
import type { Context, Hono } from 'hono'
import type { H, RouterRoute } from 'hono/types'
import { held, type Step } from './answer.js'
import type { Handlers } from './handlers.js'
import { ambiguous, coversNothing, opaque, underived } from './registration-errors.js'

/** Handlers that are registered together. The check stands in front of the first. */
interface Registration {
  readonly method: string
  readonly path: string
  readonly own: OwnCheck<Context> | undefined
  size: number
}

/** The call of a Hono method that is under way. */
interface Call {
  /** A sub-app's handlers are registered; which of them belong together is told from their order. */
  readonly route: boolean
  /** What a mounted application was declared to be. */
  readonly own?: OwnCheck<Context> | undefined
  current: Registration | undefined
}

type Method = (this: unknown, ...args: unknown[]) => unknown

const REGISTERING = ['get', 'post', 'put', 'delete', 'options', 'patch', 'query', 'all', 'on']
const PASS_ON: Step = (_c, next) => next()

/**
 * Stands where routes are registered. Whatever adds a route to a Hono app ends in `router.add` of a router that the app shares
 * with its clones: that is where handlers are guarded, so that a way of registering which nobody thought of is guarded too.
 * The methods are overridden only to know what belongs together, and what is middleware.
 */
export class Registrations {
  readonly #apps = new WeakSet<object>()
  readonly #routers = new WeakSet<object>()
  #call: Call | undefined

  constructor(
    readonly handlers: Handlers,
    /** What was given to `protect.open(reason, handler)`, by what it answered. */
    readonly opened: WeakMap<object, Step>,
  ) {}

  /**
   * Protects an app: the routes to come, and what its methods return.
   *
   * @throws TypeError when the app has routes that are not protected: what is in the router cannot be replaced.
   */
  protect(app: Hono): void {
    if (this.#apps.has(app)) return
    const stranger = app.routes.find(({ handler }) => !this.handlers.isPlaced(handler))
    if (stranger !== undefined) {
      throw new TypeError(
        `protect: the app already has a route, ${stranger.method} ${stranger.path}, which can no longer be guarded. ` +
          'Call protect first: const app = protect(new Hono())',
      )
    }
    this.#apps.add(app)
    this.#protectRouter(app.router)
    Object.defineProperty(app, 'router', { value: app.router, writable: false })
    this.#overrideMethods(app)
    this.#overrideErrorHandler(app)
  }

  #protectRouter(router: Hono['router']): void {
    if (this.#routers.has(router)) return
    this.#routers.add(router)
    const { add } = router
    router.add = (method, path, [handler, route]) => {
      const guarded = this.#guarded(handler as Step, route)
      route.handler = guarded as H
      add.call(router, method, path, [guarded as H, route])
    }
    this.#holdNotFound(router)
  }

  /** What Hono is given in place of a handler. */
  #guarded(handler: Step, route: RouterRoute): Step {
    const guarded = this.handlers.isPlaced(handler) ? handler : this.#guardHandler(handler, route)
    const entry = this.handlers.of(guarded)?.entryOf?.({ ...route, handler: guarded as H })
    if (entry?.check.facts.pattern !== undefined) this.handlers.http.assertParams(entry.check.facts.pattern)
    return guarded
  }

  #guardHandler(handler: Step, { method, path }: RouterRoute): Step {
    const said = this.handlers.ownOf(handler)
    const registration = this.#registrationOf(method, path, said)
    const first = registration.size++ === 0
    if (this.#call?.route === true && registration.own !== undefined && registration.size > 2) throw ambiguous(method, path)
    if (said?.kind === 'check')
      return this.handlers.guard(PASS_ON, { own: said, registration: first ? registration : undefined })
    return this.handlers.guard(handler, { own: registration.own, registration, follows: !first })
  }

  #registrationOf(method: string, path: string, said: OwnCheck<Context> | undefined): Registration {
    const call = this.#call
    const current = call?.current
    const goes = current?.method === method && current.path === path && !(call?.route === true && said !== undefined)
    if (current !== undefined && goes) return current
    const registration = { method, path, own: said ?? call?.own, size: 0 }
    if (call !== undefined) call.current = registration
    return registration
  }

  #during<T>(call: Call, run: () => T): T {
    const outer = this.#call
    this.#call = call
    try {
      return run()
    } finally {
      this.#call = outer
    }
  }

  #overrideMethods(app: Hono): void {
    const override = (name: string, replace: (original: Method) => Method) => {
      const original: unknown = Reflect.get(app, name)
      if (typeof original !== 'function') return
      Object.defineProperty(app, name, { value: replace(original.bind(app)), writable: true, configurable: true })
    }
    for (const name of REGISTERING) {
      override(
        name,
        (original) =>
          (...args) =>
            this.#during({ route: false, current: undefined }, () => original(...args)),
      )
    }
    override(
      'use',
      (original) =>
        (...args) =>
          original(...this.#middleware(args)),
    )
    override('basePath', (original) => (path) => {
      const clone = original(path) as Hono
      this.protect(clone)
      return clone
    })
    override('route', (original) => (path, sub) => {
      this.#assertReadable(path, sub as Hono)
      return this.#during({ route: true, current: undefined }, () => original(path, sub))
    })
    override('mount', (original) => (path, application, options) => {
      const own = this.handlers.ownOf(application)
      const opened = this.opened.get(application as object)
      if (own?.kind !== 'open' || opened === undefined) throw opaque(path)
      return this.#during({ route: false, own, current: undefined }, () => original(path, opened, options))
    })
  }

  /** The arguments of `use`, every middleware under the net. */
  #middleware(args: readonly unknown[]): unknown[] {
    const [path, ...rest] = typeof args[0] === 'string' ? args : [undefined, ...args]
    const first = this.handlers.ownOf(rest[0])
    const bare = first?.kind === 'open' && !this.opened.has(rest[0] as object) ? first : undefined
    if (bare !== undefined && (path === undefined || rest.length < 2)) throw coversNothing()
    const middleware = (bare === undefined ? rest : rest.slice(1)).map((one) => this.#oneMiddleware(one, bare))
    return path === undefined ? middleware : [path, ...middleware]
  }

  #oneMiddleware(middleware: unknown, covering: OwnCheck<Context> | undefined): unknown {
    if (typeof middleware !== 'function' || this.handlers.isPlaced(middleware)) return middleware
    const own = this.handlers.ownOf(middleware)
    if (own?.kind === 'check') {
      if (own.action === undefined) throw underived()
      return this.handlers.guard(PASS_ON, { own })
    }
    const opened = this.opened.get(middleware)
    if (own !== undefined && opened === undefined) throw coversNothing()
    const open = own ?? covering
    return open === undefined ? this.handlers.net(middleware as Step) : this.handlers.open(opened ?? (middleware as Step), open)
  }

  /** A sub-app that is not protected: its middleware cannot be told from its handlers for all methods. */
  #assertReadable(path: unknown, sub: Hono): void {
    const opaque = sub?.routes?.find(({ method, handler }) => method === 'ALL' && !this.handlers.isPlaced(handler))
    if (opaque === undefined) return
    throw new TypeError(
      `protect: the app given to route(${JSON.stringify(path)}, …) holds use("${opaque.path}", …) or all("${opaque.path}", …), ` +
        'which cannot be told apart any more. Call protect on it first: const sub = protect(new Hono())',
    )
  }

  /** An error handler's answers fall under the last net, also those of one that was there before. */
  #overrideErrorHandler(app: Hono): void {
    const { onError } = app
    app.onError = (handler) =>
      onError((error, c) => {
        const answer = handler(error, c)
        const hold = (settled: unknown) => held(this.handlers.http, c, settled) as Response
        return isPromise(answer) ? answer.then(hold) : hold(answer)
      })
    const before: unknown = Reflect.get(app, 'errorHandler')
    if (before !== defaultErrorHandlerOf(app)) app.onError(before as Parameters<Hono['onError']>[0])
  }

  /**
   * What a not-found handler answers falls under the last net. The handler itself cannot be seen, since it may have been there
   * before: where nothing matches, the router answers with one middleware that holds back what comes from behind it.
   */
  #holdNotFound(router: Hono['router']): void {
    const handler = this.handlers.net(PASS_ON) as H
    const nothing: ReturnType<Hono['router']['match']> = [
      [[[handler, { basePath: '/', path: '/*', method: 'ALL', handler }], {}]],
    ]
    let match = router.match
    const matchOrHold: typeof match = (method, path) => {
      const result = match.call(router, method, path)
      return result[0].length === 0 ? nothing : result
    }
    Object.defineProperty(router, 'match', {
      configurable: true,
      get: () => matchOrHold,
      set: (faster: typeof match) => {
        match = faster
      },
    })
  }
}

/** The error handler of an app that was given none. Hono compares with it, so that a sub-app without one has its parent's. */
function defaultErrorHandlerOf(app: Hono): unknown {
  let base: object = Object.getPrototypeOf(app)
  while (Object.getPrototypeOf(base) !== Object.prototype) base = Object.getPrototypeOf(base)
  return Reflect.get(new (base.constructor as new () => object)(), 'errorHandler')
}
