import type { Assert } from '../assert.js'
import { type Built, build, type Kit } from './build.js'
import type { Case, Context, Feature, Reply, RequestInit } from './spec.js'
import { createWorld, mint, type World } from './world.js'

/** An app that can be spoken to. */
export interface Served {
  request(method: string, path: string, headers: Readonly<Record<string, string>>, body?: string): Promise<Reply>
  send?(bytes: string, timeoutMs?: number): Promise<Reply>
  abandon?(bytes: string, afterMs: number): Promise<void>
  close(): Promise<void>
}

/** A framework and the way its apps are served. */
export interface Binding {
  readonly kit: Kit
  /** What the way of serving adds: `socket`. */
  readonly features: readonly Feature[]
  serve(app: unknown): Promise<Served>
}

/** Whether a binding has all that a case needs. */
export function applies(one: Case, { kit, features }: Binding): boolean {
  return (one.needs ?? []).every((need) => kit.features.has(need) || features.includes(need))
}

/** Builds and serves the app of a case, runs it, and holds what must be true of every request whatever the case is about. */
export async function runCase(one: Case, binding: Binding, assert: Assert): Promise<void> {
  const { lines, restore } = captureErrors()
  let world: World | undefined
  let served: Served | undefined
  try {
    world = await createWorld(one.app.guard ?? {})
    const attempt = await assembled(one, binding, world)
    if (attempt.failure !== undefined && one.mayFail !== true) throw attempt.failure
    served = attempt.served
    await one.run(contextOf(binding.kit, attempt, world, lines), assert)
    everyHandlerWasAllowed(world, assert)
  } finally {
    restore()
    await served?.close()
    await world?.guard.close()
  }
}

interface Attempt {
  readonly built?: Built
  readonly served?: Served
  readonly failure?: Error
}

/** Builds and serves the app. Some frameworks build only when they are served. */
async function assembled({ app }: Case, { kit, serve }: Binding, world: World): Promise<Attempt> {
  let built: Built | undefined
  try {
    built = build(kit, app, world)
    return { built, served: await serve(built.app) }
  } catch (error) {
    return { ...(built === undefined ? {} : { built }), failure: error as Error }
  }
}

function contextOf(kit: Kit, { built, served, failure }: Attempt, world: World, stderr: readonly string[]): Context {
  const there = <T>(value: T | undefined): T => {
    if (value === undefined) throw failure ?? new Error('The app has no such thing')
    return value
  }
  return {
    name: kit.name,
    failure,
    stderr,
    guard: world.guard,
    request: async (method, path, init = {}) => there(served).request(method, path, await headersOf(init), init.body),
    send: (bytes) => there(served?.send)(bytes),
    abandon: (bytes, afterMs) => there(served?.abandon)(bytes, afterMs),
    token: mint,
    asked: world.asked,
    decided: world.decided,
    ran: world.ran,
    get protect() {
      return there(built).protect
    },
    createProtect: (guard, options) => kit.createProtect(guard, options),
    routes: () => there(built).protect.routes(built?.app),
    verify: () => there(built).protect.verify(built?.app),
  }
}

let usual: Promise<string> | undefined

async function headersOf({ token, headers = {} }: RequestInit): Promise<Record<string, string>> {
  if (token === null) return { ...headers }
  usual ??= mint()
  return { authorization: `Bearer ${token ?? (await usual)}`, ...headers }
}

/** The promise itself: whoever has a decision on its request ran only because exactly that decision allowed it, just before. */
function everyHandlerWasAllowed({ ran }: World, assert: Assert): void {
  for (const { name, decision, lastDecided } of ran) {
    if (decision === undefined) continue
    assert.ok(decision.allowed, `${name} ran although the decision on its request does not allow it`)
    assert.equal(lastDecided?.action, decision.action, `${name} ran with the decision of another action, or none recorded`)
    assert.equal(lastDecided?.resource, decision.resource, `${name} ran with the decision on another resource`)
  }
}

/** What is written to stderr during a case is kept, not shown. */
function captureErrors(): { lines: readonly string[]; restore: () => void } {
  const { error, warn } = console
  const lines: string[] = []
  const keep = (...words: readonly unknown[]) => {
    lines.push(words.map(String).join(' '))
  }
  Object.assign(console, { error: keep, warn: keep })
  return { lines, restore: () => Object.assign(console, { error, warn }) }
}
