import { createPolicies, fromPolicies, type PolicyDocument } from '@meshguard/core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { bindings, type Framework } from '../adapters/bindings.js'
import { demoApp, type Observation, recorderOf, serveApp, type Target, variants, worldOf } from './bypass-app.js'
import { configurations } from './bypass-config.js'
import { otherThanBare, violations } from './bypass-property.js'
import { sourceOf } from './bypass-sources.js'
import { deploymentOf, mintTokens, verifiers } from './bypass-tokens.js'
import { bytesOf, type Vector, vectors, vectorsOf } from './bypass-vectors.js'

/** Statuses that a case's own words ask for, beyond what holds for all. Node's parser answers before any framework. */
const PARSER = [400]
const asked: Readonly<Record<string, readonly number[]>> = {
  'hdr-dup-auth': [400, 401],
  'hdr-dup-host': [200, 400],
  'hdr-fold': PARSER,
  'trace-lf': PARSER,
  'trace-nul': PARSER,
  'proxy-dupcl': PARSER,
  http09: [0, 400],
  'dos-long-path': [400, 403, 404, 414],
  'cfg-fastify-empty-param-mid': [400, 403, 404],
  'cfg-fastify-asterisk': [403],
  'cfg-express-nonroute': [403],
  'cfg-express-param-shadow': [400, 403],
  'cfg-express-nested-mounts': [200],
}
const apart = new Set(['cache-context', 'cache-delim-1', 'cache-policy-change'])

let tokens: ReadonlyMap<string, string>
const targets = new Map<string, Promise<Target>>()

beforeAll(async () => {
  tokens = await mintTokens()
})
afterAll(async () => {
  for (const target of targets.values()) await (await target).close()
})

/** The demo app of a case, served once for all cases that are alike. */
function targetOf(framework: Framework, variant: string, vector: Vector, guarded = true): Promise<Target> {
  const { setup, policy, tokenRecipe } = vector
  const deployment = deploymentOf(tokenRecipe)
  const key = `${variant} ${setup} ${policy} ${deployment} ${guarded}`
  const known = targets.get(key)
  if (known !== undefined) return known
  const world = worldOf(sourceOf(setup, policy), verifiers[deployment])
  const recorder = recorderOf(world)
  const target = serveApp(
    framework,
    world,
    recorder,
    demoApp(bindings[framework].kit, recorder, guarded),
    variants[framework][variant],
  )
  targets.set(key, target)
  return target
}

/** What is wrong with a case, over all variants of a framework. */
async function replay(framework: Framework, vector: Vector): Promise<string[]> {
  const wrong: string[] = []
  for (const variant of Object.keys(variants[framework])) {
    const target = await targetOf(framework, variant, vector)
    const seen = await target.replay(bytesOf(vector, tokens), vector.class === 'http-version' ? 300 : undefined)
    const all = [...violations(vector, variant, seen), ...unforeseen(vector, seen)]
    if (vector.policy === 'p1') {
      const bare = await targetOf(framework, variant, vector, false)
      all.push(...otherThanBare(seen, await bare.replay(bytesOf(vector, tokens))))
    }
    wrong.push(...all.map((one) => `${variant}: ${one}`))
  }
  return wrong
}

function unforeseen({ id, class: kind }: Vector, { reply, decided, ran }: Observation): string[] {
  const wrong: string[] = []
  if (asked[id]?.includes(reply.status) === false) wrong.push(`answered ${reply.status}`)
  if (kind.startsWith('fail-closed') && decided.some(({ allowed }) => allowed)) wrong.push('something was allowed')
  if (kind.startsWith('fail-closed') && (ran.length > 0 || decided.length !== 1)) wrong.push(`${decided.length} decisions`)
  const lines = decided.map((event) => JSON.stringify(event))
  if (lines.some((line) => /[\n\r\u2028\u2029\u009b]|eyJ/.test(line)))
    wrong.push('the record is more than a line, or holds a token')
  return wrong
}

describe.each(Object.keys(bindings) as Framework[])('%s', (framework) => {
  for (const vector of vectorsOf(framework)) {
    const configure = configurations[vector.id]
    if (apart.has(vector.id)) continue
    if (configure === undefined) it(vector.id, async () => expect((await replay(framework, vector)).join('\n')).toBe(''))
    else {
      it(`${vector.id}: ${vector.expected.property}`, async () => {
        const world = worldOf(sourceOf('s0', vector.policy), verifiers.secret)
        const recorder = recorderOf(world)
        const { spec, options, before } = configure(framework, recorder)
        const target = await serveApp(framework, world, recorder, spec, options, before).catch((error: Error) => error)
        if (target instanceof Error) return expect(target.message).toMatch(/protect|parameter/)
        const seen = await target.replay(bytesOf(vector, tokens))
        await target.close()
        expect([...violations(vector, framework, seen), ...unforeseen(vector, seen)].join('\n')).toBe('')
        expect(seen.reply.text).not.toContain('secret.txt')
      })
    }
  }

  it('still answers after all of it', async () => {
    const baseline = vectors.cases.find(({ id }) => id === 'http-cache') as Vector
    for (const variant of Object.keys(variants[framework])) {
      const { reply, ran } = await (await targetOf(framework, variant, baseline)).replay(bytesOf(baseline, tokens))
      expect([reply.status, ran.length]).toEqual([200, 1])
    }
  })

  describe('remembers nothing that it should not', () => {
    const get = (token: string, path: string, header = '') =>
      `GET ${path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${tokens.get(token)}\r\n${header}Connection: close\r\n\r\n`
    const serve = async (policies: Parameters<typeof fromPolicies>[0], context?: unknown) => {
      const world = worldOf(fromPolicies(policies), verifiers.secret)
      const recorder = recorderOf(world)
      const spec = demoApp(bindings[framework].kit, recorder)
      return serveApp(framework, world, recorder, context === undefined ? spec : { ...spec, options: { context } })
    }
    const [low] = vectors.policies['p0'] as readonly [PolicyDocument]

    it('cache-context: a condition on the context is looked at for every request', async () => {
      const rules = [{ effect: 'allow', actions: ['read:contacts'], conditions: { context: { zone: 'office' } } }] as const
      const zone = ({ header }: { header(name: string): string | undefined }) => ({ zone: header('x-zone') ?? 'none' })
      const target = await serve({ name: 'zoned', rules } as unknown as PolicyDocument, zone)
      const statuses: number[] = []
      for (const where of ['office', 'street', 'office']) {
        statuses.push((await target.replay(get('agent-low', '/contacts/42', `X-Zone: ${where}\r\n`))).reply.status)
      }
      await target.close()
      expect(statuses).toEqual([200, 403, 200])
    })

    it('cache-delim-1: agents and actions that would read alike in one string are kept apart', async () => {
      const target = await serve([low])
      const [first, second, third] = [
        await target.replay(get('agent-low', '/contacts/a%3Ab')),
        await target.replay(get('agent-low:read', '/contacts/a%3Ab')),
        await target.replay(get('agent-low', '/contacts/a:b')),
      ]
      await target.close()
      expect([first.reply.status, second.reply.status, third.reply.status]).toEqual([200, 403, 200])
    })

    it('cache-policy-change: the request after a rule is removed is denied', async () => {
      let inForce: PolicyDocument = low
      const other: PolicyDocument = { name: 'other', rules: [{ effect: 'allow', actions: ['read:other'] }] }
      const sets = new Map<PolicyDocument, ReturnType<typeof createPolicies>>()
      const setOf = (policy: PolicyDocument) => sets.get(policy) ?? sets.set(policy, createPolicies([policy])).get(policy)
      const target = await serve({ current: () => setOf(inForce) as ReturnType<typeof createPolicies> })
      const before = await target.replay(get('agent-low', '/contacts/42'))
      inForce = other
      const after = await target.replay(get('agent-low', '/contacts/42'))
      await target.close()
      expect([before.reply.status, after.reply.status]).toEqual([200, 403])
    })
  })
})
