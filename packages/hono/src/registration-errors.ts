/** What a registration that cannot be guarded is refused with, in words that say what to write instead. */

/** Of a plain sub-app: it cannot be told what its own check covers. */
export function ambiguous(method: string, path: string): TypeError {
  return new TypeError(
    `protect: ${method} ${path} of the app given to route() has a check of its own and several handlers, of which it cannot be ` +
      'told any more whether they were registered together. Call protect on that app first: const sub = protect(new Hono())',
  )
}

/** An application is mounted that nothing was said about. */
export function opaque(path: unknown): TypeError {
  const all = String(path).replace(/\/*$/, '/*')
  return new TypeError(
    `protect: what mount(${JSON.stringify(path)}, …) runs cannot be seen into. Write ` +
      `app.all(${JSON.stringify(all)}, protect('verb:object'), (c) => handler(c.req.raw)), or wrap it: protect.open(reason, handler)`,
  )
}

/** A derived check was given to `use()`. */
export function underived(): TypeError {
  return new TypeError("protect: in use() there is no route to derive an action from. Say it: protect('verb:object')")
}

/** `protect.open(reason)` was given to `use()` without what it opens. */
export function coversNothing(): TypeError {
  return new TypeError(
    'protect.open: in use() it needs the middleware that may answer: app.use(protect.open(reason, middleware)). ' +
      'A route is opened where it is registered: app.get(path, protect.open(reason), handler)',
  )
}
