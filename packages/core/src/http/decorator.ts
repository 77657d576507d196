import type { OwnChecks } from './own-check.js'

type Method = (this: unknown, ...args: never[]) => unknown

/** What a decorator is called with: standard (`value, { kind }`) or legacy (`target, name, descriptor`). */
export type DecoratorArguments = readonly [unknown, unknown, unknown?]

/** Whether the arguments of a call are those of a decorator and not of a handler. */
export function isDecoratorCall(args: readonly unknown[]): args is DecoratorArguments {
  const [, second] = args
  if (typeof second === 'string' || typeof second === 'symbol') return true
  return typeof second === 'object' && second !== null && 'addInitializer' in second && 'kind' in second
}

/**
 * Applies a decorator to a method or field, standard or legacy.
 *
 * @param wrap Puts the check in front of the method; `this` must be handed through.
 * @returns What the decorator returns.
 * @throws TypeError for anything but a method or, with standard decorators, a field.
 */
export function decorate(args: DecoratorArguments, wrap: (method: Method) => Method): unknown {
  const [target, name, third] = args
  if (typeof name === 'object' && name !== null)
    return decorateStandard(target, name as { kind: string; name: PropertyKey }, wrap)
  const descriptor = third as PropertyDescriptor | undefined
  if (typeof descriptor?.value === 'function') return { ...descriptor, value: wrap(descriptor.value as Method) }
  throw new TypeError(
    `protect: legacy decorators can only guard methods; write ${String(name)} as a method, or turn "experimentalDecorators" off`,
  )
}

function decorateStandard(
  target: unknown,
  context: { kind: string; name: PropertyKey },
  wrap: (method: Method) => Method,
): unknown {
  if (context.kind === 'method') return wrap(target as Method)
  if (context.kind === 'field') {
    return (value: unknown) => {
      if (typeof value === 'function') return wrap(value as Method)
      throw new TypeError(`protect: the field ${String(context.name)} is not a function`)
    }
  }
  throw new TypeError(`protect: cannot decorate a ${context.kind}; decorate a method or a field`)
}

/**
 * A view of a controller whose methods keep their `this` and their checks, for `app.get('/x', protect.bind(controller).list)`.
 */
export function bindController<C extends object>(controller: C, checks: OwnChecks<never>): C {
  return new Proxy(controller, {
    get(target, key) {
      const value: unknown = Reflect.get(target, key, target)
      if (typeof value !== 'function') return value
      const bound: (...args: unknown[]) => unknown = value.bind(target)
      const check = checks.of(value)
      return check === undefined ? bound : checks.mark(bound, check)
    },
  })
}
