import type { Core } from './enforce.js'
import { ROOT } from './mount.js'
import { type AppShape, type Handler, isApp, isErrorHandler, isPathless, isRouter, type RouterShape } from './shapes.js'
import { closeHandler, Site } from './site.js'

/** What one call of `use` registers. */
export interface UsePlan {
  /** In order, with own checks that know where they stand. */
  readonly handlers: readonly unknown[]
  /** The apps and routers among them. */
  readonly children: ReadonlySet<AppShape | RouterShape>
  /** The checks that stand in front of something that cannot be seen into: rows of the route table. */
  readonly opaque: readonly Site[]
}

/**
 * Reads one call of `use`. With a path, what cannot be seen into needs a check, `protect.open` or `protect.middleware` in the
 * same call; without a path it is middleware and left alone.
 *
 * @throws TypeError that prints the line to write.
 */
export function planUse(core: Core, router: RouterShape, path: unknown, given: readonly unknown[]): UsePlan {
  const children = new Set(given.filter((handler) => isApp(handler) || isRouter(handler)))
  const pathless = isPathless(path)
  const sites: Site[] = []
  const checks: Handler[] = []
  const handlers: unknown[] = []
  let open = false
  let opaque = false
  let jumped = false
  for (const handler of given) {
    if (typeof handler !== 'function') throw new TypeError('argument handler must be a function')
    const own = core.checks.of(handler)
    if (own?.kind === 'open') {
      if (pathless || children.size > 0) throw new TypeError(OPENS_TOO_MUCH)
      open = true
    }
    if (own?.kind === 'check' && own.action === undefined) throw new TypeError(needsAction(path))
    if (own?.kind === 'open' || own?.kind === 'check') {
      const site = new Site(core, 'ALL', pathless ? '' : path, own)
      const check = core.plain.has(handler) ? site.handlerIn(router) : (handler as Handler)
      sites.push(site)
      checks.push(check)
      handlers.push(check)
      continue
    }
    const plain = own === undefined && !isErrorHandler(handler) && !children.has(handler as unknown as RouterShape)
    if (plain && !pathless && checks.length === 0) throw new TypeError(cannotSeeInto(core, path, handler))
    if (jumped && !isErrorHandler(handler)) handlers.push(...checks)
    jumped = isErrorHandler(handler)
    opaque ||= plain
    handlers.push(handler)
  }
  if (open && !opaque) throw new TypeError(OPENS_NOTHING)
  if (open) handlers.push(closeHandler)
  return { handlers, children, opaque: opaque && !pathless ? sites : [] }
}

const OPENS_TOO_MUCH =
  'protect.open(reason) is for one route, or for use(path, protect.open(reason), handler): in front of a router, or without a path, it would open what nobody listed. Put it on the routes.'
const OPENS_NOTHING = 'protect.open(reason) in use(path, …) needs a handler behind it, in the same call.'

function needsAction(path: unknown): string {
  return `protect() in use(…) has no route to derive an action from. Write use(${quoted(path)}, protect('verb:object'), …).`
}

/** What to write instead of a `use` that cannot be seen into. */
function cannotSeeInto(core: Core, path: unknown, handler: { readonly name: string }): string {
  const derived = new Site(core, 'GET', path, undefined).at(ROOT).methods.get('GET')?.action
  const action = typeof derived === 'string' ? derived : 'verb:object'
  const [at, name] = [quoted(path), handler.name || 'handler']
  return [
    `use(${at}, ${name}) cannot be seen into: it may answer without a check. Write one of`,
    `  use(${at}, protect('${action}'), ${name})`,
    `  use(${at}, protect.open('why it is public'), ${name})`,
    `  use(${at}, protect.middleware(${name})) // if it never answers below 400 and only passes on`,
  ].join('\n')
}

function quoted(path: unknown): string {
  return typeof path === 'string' ? `'${path}'` : String(path)
}
