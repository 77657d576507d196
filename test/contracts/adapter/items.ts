import type { AppSpec, Effect, Facts, GuardSpec, Handle, Item, Step } from './spec.js'

/** A handler that records itself; it answers 200 unless it is told otherwise. */
export function handler(handle: Handle = () => ({}), name?: string): Item {
  return name === undefined ? { handle } : { handle, name }
}

/** A handler that answers this. */
export function answers(effect: Effect, name?: string): Item {
  return handler(() => effect, name)
}

/** A handler that hands on to the next. */
export function passesOn(name?: string): Item {
  return handler(() => 'next', name)
}

/** A check of ours: the arguments of `protect(…)`, with callbacks of {@link Facts}. */
export function check(...args: readonly unknown[]): Item {
  return { check: args }
}

/** `protect.open(reason)`. */
export function open(reason = 'deliberately public'): Item {
  return { open: reason }
}

/** A route with handlers; one that answers 200 if none is named. */
export function route(spec: string, ...items: readonly Item[]): Step {
  return items.length === 0 ? { route: spec } : { route: spec, items }
}

/** An app of steps under a guard that allows these actions. */
export function app(allow: readonly string[], ...steps: readonly Step[]): AppSpec {
  return { guard: { source: { allow } }, steps }
}

/** The same app with options of `createProtect`, or of the guard. */
export function withOptions(spec: AppSpec, options: AppSpec['options'], guard: GuardSpec = {}): AppSpec {
  return { ...spec, ...(options === undefined ? {} : { options }), guard: { ...spec.guard, ...guard } }
}

/** Settles after so many ms. */
export function after<T>(ms: number, value?: T): Promise<T> {
  return new Promise((resolve) => setTimeout(() => resolve(value as T), ms))
}

/** Never settles. */
export function never<T>(): Promise<T> {
  return new Promise(() => undefined)
}

export type { Facts }
