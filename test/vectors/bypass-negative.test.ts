import { beforeAll, describe, expect, it } from 'vitest'
import { bindings, type Framework } from '../adapters/bindings.js'
import { handler } from '../contracts/adapter/items.js'
import type { Facts } from '../contracts/adapter/spec.js'
import { demoApp, recorderOf, serveApp, variants, worldOf } from './bypass-app.js'
import { forbidden, violations } from './bypass-property.js'
import { sourceOf } from './bypass-sources.js'
import { mintTokens, verifiers } from './bypass-tokens.js'
import { bytesOf, demoRoutes, vectorsOf } from './bypass-vectors.js'

/** Whether a guard that looks at the path lets a caller pass who may only `read:contacts`. */
type Naive = (facts: Facts) => boolean

const verbs: Readonly<Record<string, string>> = { GET: 'read', HEAD: 'read', DELETE: 'delete' }
const pathOf = (url: string) => url.split('?')[0] as string

/** The action is made of the method and the first segment of the path. */
const firstSegment: Naive = ({ method, url }) => {
  const segment = pathOf(url)
    .split('/')
    .find((part) => part !== '')
  return `${verbs[method] ?? 'write'}:${segment}` === 'read:contacts'
}

const table = demoRoutes.map(({ method, pattern, action }) => ({
  method,
  action,
  path: new RegExp(`^${pattern.replace(/:\w+/g, '[^/]+').replace(/\*$/, '.*')}$`),
}))

/** A route table of its own, matched against the path; what is not in it is public. */
const ownTable: Naive = ({ method, url }) => {
  const [asked, path] = [method === 'HEAD' ? 'GET' : method, pathOf(url)]
  const found = table.find((one) => (one.method === 'ALL' || one.method === asked) && one.path.test(path))
  return found === undefined || found.action === 'read:contacts'
}

let tokens: ReadonlyMap<string, string>
beforeAll(async () => {
  tokens = await mintTokens()
})

/** Replays the paths over an app behind a naive guard: the cases in which a forbidden handler was reached, by variant. */
async function reached(framework: Framework, naive: Naive): Promise<Record<string, string[]>> {
  const found: Record<string, string[]> = {}
  for (const [variant, options] of Object.entries(variants[framework])) {
    const world = worldOf(sourceOf('s0', 'p0'), verifiers.secret)
    const recorder = recorderOf(world)
    const bare = demoApp(bindings[framework].kit, recorder, false)
    const guard = handler((facts) => (naive(facts) ? 'next' : { status: 403, body: { error: 'Forbidden' } }))
    const target = await serveApp(framework, world, recorder, { ...bare, steps: [{ use: [guard] }, ...bare.steps] }, options)
    const names: string[] = []
    for (const vector of vectorsOf(framework).filter(({ id }) => id.startsWith('path-'))) {
      const seen = await target.replay(bytesOf(vector, tokens))
      const wrong = forbidden(vector, seen)
      if (wrong.length === 0) continue
      expect(violations(vector, variant, seen)).toEqual(expect.arrayContaining(wrong))
      names.push(vector.id)
    }
    await target.close()
    found[variant] = names
  }
  return found
}

describe.each(Object.keys(bindings) as Framework[])('The replay catches naive guards in front of %s', (framework) => {
  it('one that looks at the first segment of the path', async () => {
    expect((await reached(framework, firstSegment))[framework]).toContain('path-base-export')
  })

  it('one that matches the path against a table of its own', async () => {
    const found = await reached(framework, ownTable)
    for (const [variant, names] of Object.entries(found)) expect(names, variant).toContain('path-abs-sub')
    const foldsCase = { express: 'express', koa: 'koa', fastify: 'fastify-lenient', hono: undefined }[framework]
    if (foldsCase !== undefined) expect(found[foldsCase]).toContain('path-case-sub')
    if (framework === 'hono') expect(found['hono']).toContain('path-dot-up')
    expect(Object.values(found).flat().length).toBeGreaterThan(10)
  })
})
