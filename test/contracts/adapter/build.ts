import type { Agent, Decision } from '@meshguard/core'
import type { AnyProtect, AppSpec, Effect, Facts, Feature, Handle, Item, NativeName, Step } from './spec.js'
import type { World } from './world.js'

/** Runs a recorded handler on the framework's own arguments. */
export type Run = (native: unknown) => Promise<Effect>

/** An app, router or scope of a framework, as the steps of a spec speak to it. Paths are in the neutral spelling. */
export interface Site {
  readonly native: unknown
  route(method: string, path: string, items: readonly unknown[]): void
  use(path: string | undefined, items: readonly unknown[]): void
  /** Mounts the router of this id, filling it with `fill` the first time (or each time, where a mount makes a new scope). */
  mount(path: string, id: string, items: readonly unknown[], fill: (router: Site) => void): void
  notFound(handler: unknown): void
}

/** What a framework adds to the contract: how an app is built, and what its handlers look like. */
export interface Kit {
  readonly name: string
  readonly features: ReadonlySet<Feature>
  createProtect(guard: unknown, options?: unknown): AnyProtect
  /** The framework's own arguments (`req`, `ctx`, `c`, `request`) as facts. */
  facts(native: unknown): Omit<Facts, 'guard'>
  handler(run: Run): unknown
  onDenied(write: (decision: Decision, native: unknown) => Promise<Effect>): unknown
  /** A new app, with the framework's own options. */
  app(options?: unknown): Site
  /** A router that is not mounted yet, by its id. */
  router(app: Site, id: string): Site
  readonly natives: Partial<Record<NativeName, (tools: NativeTools) => void>>
}

/** What a native step is given. */
export interface NativeTools {
  readonly app: unknown
  readonly protect: AnyProtect
  /** A handler that records itself under this name and answers 200. */
  handler(name: string, handle?: Handle): unknown
}

/** An app that was built. */
export interface Built {
  readonly app: unknown
  readonly protect: AnyProtect
}

/**
 * Builds the app of a spec with the framework of a kit.
 *
 * @param before Sees the app after it was protected and before its first step.
 */
export function build(kit: Kit, spec: AppSpec, world: World, appOptions?: unknown, before?: (site: Site) => void): Built {
  const protect = kit.createProtect(world.guard, neutralOptions(kit, world, spec.options ?? {}))
  const site = kit.app(appOptions)
  const native = (item: Item, name: string) => nativeItem(kit, world, protect, item, name)

  const walk = (at: Site, steps: readonly Step[]): void => {
    for (const step of steps) {
      if ('route' in step) {
        const [method, path] = step.route.split(' ') as [string, string]
        const items = step.items ?? [{ handle: () => ({}) }]
        at.route(
          method,
          path,
          items.map((item) => native(item, step.route)),
        )
      } else if ('use' in step) {
        at.use(
          step.at,
          step.use.map((item) => native(item, `use ${step.at ?? ''}`)),
        )
      } else if ('mount' in step) {
        const items = (step.items ?? []).map((item) => native(item, `mount ${step.mount}`))
        at.mount(step.mount, step.router, items, (router) => walk(router, spec.routers?.[step.router] ?? []))
      } else if ('late' in step) walk(kit.router(site, step.late), step.steps)
      else if ('notFound' in step) at.notFound(native({ handle: step.notFound }, 'not found'))
      else if ('protect' in step) protect(step.protect === 'app' ? site.native : kit.router(site, step.protect.router).native)
      else {
        kit.natives[step.native]?.({
          app: at.native,
          protect,
          handler: (name, handle = () => ({})) => native({ handle }, name),
        })
      }
    }
  }

  const first = spec.whole !== false && !spec.steps.some((step) => 'protect' in step && step.protect === 'app')
  if (first) protect(site.native)
  before?.(site)
  walk(site, spec.steps)
  return { app: site.native, protect }
}

function nativeItem(kit: Kit, world: World, protect: AnyProtect, item: Item, name: string): unknown {
  if ('open' in item) return protect.open(item.open)
  if ('check' in item) return protect(...item.check.map((arg) => neutral(kit, world, arg)))
  if ('passing' in item) {
    const passing = kit.handler((given) => Promise.resolve(item.passing(factsOf(kit, world, given))))
    return protect.middleware?.(passing) ?? passing
  }
  if ('opaque' in item) {
    return protect.open(
      item.opaque,
      kit.handler((given) => Promise.resolve(item.handle(factsOf(kit, world, given)))),
    )
  }
  return kit.handler(async (given) => {
    const facts = factsOf(kit, world, given)
    const { decision, agent } = facts
    const lastDecided = world.decided.filter(({ traceId }) => traceId === decision?.traceId).at(-1)
    world.ran.push({ name: item.name ?? name, decision, agent, lastDecided })
    const effect = await item.handle(facts)
    return typeof effect === 'object' && effect.body === undefined ? { ...effect, body: { ran: item.name ?? name } } : effect
  })
}

/** Options of `createProtect` whose callbacks take facts. */
function neutralOptions(kit: Kit, world: World, options: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const { onDenied, ...rest } = options as { onDenied?: (decision: Decision, facts: Facts) => Effect | Promise<Effect> }
  const read = neutral(kit, world, rest) as Record<string, unknown>
  if (typeof onDenied !== 'function') return onDenied === undefined ? read : { ...read, onDenied }
  const write = async (decision: Decision, given: unknown) => onDenied(decision, factsOf(kit, world, given))
  return { ...read, onDenied: kit.onDenied(write) }
}

/** The same object with functions that take the framework's own request. */
function neutral(kit: Kit, world: World, given: unknown): unknown {
  if (typeof given !== 'object' || given === null || Array.isArray(given)) return given
  const wrapped = Object.entries(given).map(([name, value]) => [
    name,
    typeof value === 'function' ? (native: unknown) => value(factsOf(kit, world, native)) : value,
  ])
  return Object.fromEntries(wrapped)
}

function factsOf(kit: Kit, world: World, native: unknown): Facts {
  return Object.assign(kit.facts(native), { guard: world.guard })
}

/** What every kit's `facts` begins with. */
export function facts(
  method: string,
  url: string,
  header: (name: string) => string | undefined,
  params: Readonly<Record<string, unknown>>,
  decision: Decision | undefined,
  agent: Agent | undefined,
): Omit<Facts, 'guard'> {
  return { method, url, header, params, decision, agent }
}
