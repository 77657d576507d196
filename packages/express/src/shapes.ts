import type { NextFunction, Request, Response } from 'express'

/** What Express calls for a request. */
export type Handler = (req: Request, res: Response, next: NextFunction) => unknown

/** What a router or app calls when nothing in it has answered. */
export type Done = (error?: unknown) => void

/** One entry of a stack. */
export interface LayerShape {
  handle: Handler
  readonly route?: RouteShape | undefined
  /** In the stack of a route: lower case, absent for all methods. */
  readonly method?: string | undefined
  /** In the stack of a router: mounted on `/`. */
  readonly slash?: boolean | undefined
  /** In the stack of a router: the path as it was given; since router 2.3. */
  readonly rawPath?: unknown
}

/** What `app.route(path)` answers. */
export interface RouteShape {
  readonly path: unknown
  readonly stack: LayerShape[]
  readonly methods: Record<string, boolean | undefined>
}

/** The parts of a router that are read, or replaced on that one router. */
export interface RouterShape {
  readonly stack: LayerShape[]
  caseSensitive?: boolean | undefined
  strict?: boolean | undefined
  handle(req: Request, res: Response, done: Done): void
  use(...args: unknown[]): unknown
  route(path: unknown): RouteShape
  all(path: unknown, ...handlers: unknown[]): unknown
}

/** The parts of an app that are read, or replaced on that one app. */
export interface AppShape {
  readonly router: RouterShape
  handle(req: Request, res: Response, done?: Done): void
  use(...args: unknown[]): unknown
  all(path: unknown, ...handlers: unknown[]): unknown
  enabled(setting: string): boolean
}

function has(value: unknown, ...methods: string[]): boolean {
  return typeof value === 'function' && methods.every((name) => typeof Reflect.get(value, name) === 'function')
}

/** Whether a value is an Express app. */
export function isApp(value: unknown): value is AppShape {
  return has(value, 'handle', 'set', 'use', 'route', 'enabled')
}

/** Whether a value is a router of Express. */
export function isRouter(value: unknown): value is RouterShape {
  return has(value, 'handle', 'use', 'route', 'all') && !isApp(value) && Array.isArray((value as unknown as RouterShape).stack)
}

/** Whether Express runs a handler for errors only: it takes four arguments. */
export function isErrorHandler(handler: unknown): boolean {
  return typeof handler === 'function' && handler.length > 3
}

const SOME_OF_ALL = ['get', 'head', 'post', 'put', 'delete', 'options', 'patch', 'trace', 'propfind']

/** Whether a route answers all methods: `route.all`, or `app.all`, which registers every method by its name. */
export function isForAllMethods({ methods }: RouteShape): boolean {
  return methods['_all'] === true || SOME_OF_ALL.every((method) => methods[method] === true)
}

/** The arguments of `use`, read as Express reads them: the path is the first that is not a function, arrays are flattened. */
export function readUse(args: readonly unknown[]): { readonly path: unknown; readonly handlers: readonly unknown[] } {
  let first: unknown = args[0]
  while (Array.isArray(first) && first.length > 0) first = first[0]
  const withPath = args.length > 0 && typeof first !== 'function'
  return { path: withPath ? args[0] : '/', handlers: args.slice(withPath ? 1 : 0).flat(Number.POSITIVE_INFINITY) }
}

/** Whether everything passes a path of `use`: then it scopes nothing. */
export function isPathless(path: unknown): boolean {
  return path === '/' || path === ''
}
