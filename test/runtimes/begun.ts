/** Imported before everything else: keeps what is begun while the rest is imported. */
export const begun: string[] = []

for (const name of ['fetch', 'setTimeout', 'setInterval', 'queueMicrotask'] as const) {
  const real = globalThis[name] as (...given: unknown[]) => unknown
  Object.assign(globalThis, {
    [name]: (...given: unknown[]) => {
      begun.push(`${name} ${new Error().stack}`)
      return real(...given)
    },
  })
}
