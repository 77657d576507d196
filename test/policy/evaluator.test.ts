import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { type Agent, createGuard, fromPolicies, type PolicyDocument } from '@meshguard/core'
import { describe, expect, it } from 'vitest'

const traceId = 'trace-0001'

/** Answers `first` to the first so many readings, then `then`. */
function turning<T extends object>(rest: T, key: string, first: unknown, then: unknown, at: number): T {
  let readings = 0
  return Object.defineProperty({ ...rest }, key, { enumerable: true, get: () => (readings++ < at ? first : then) })
}

describe('an agent that answers differently when it is read again', () => {
  const policies: PolicyDocument[] = [
    { name: 'by-id', appliesTo: { agentIds: ['admin'] }, rules: [{ effect: 'allow', actions: ['id:*'] }] },
    { name: 'by-tag', appliesTo: { tags: ['ops'] }, rules: [{ effect: 'allow', actions: ['tag:*'] }] },
    { name: 'by-tier', appliesTo: { minTrustTier: 'trusted' }, rules: [{ effect: 'allow', actions: ['tier:*'] }] },
  ]
  const nobody: Agent = { id: 'nobody', trustTier: 'unverified', tags: [] }
  const cases = [
    ['id', 'admin', 'id:x'],
    ['tags', ['ops'], 'tag:x'],
    ['trustTier', 'privileged', 'tier:x'],
  ] as const

  it.each(cases)('leaves nothing of its other %s to others', (key, value, action) => {
    for (let at = 0; at < 16; at++) {
      for (const [first, then] of [
        [value, nobody[key]],
        [nobody[key], value],
      ]) {
        const source = fromPolicies(policies)
        source.decide({ action, traceId, agent: turning(nobody, key, first, then, at) })
        expect(source.decide({ action, traceId, agent: nobody }), `${at}`).toMatchObject({ allowed: false, code: 'no_match' })
        expect(source.decide({ action, traceId, agent: { ...nobody, [key]: value } }), `${at}`).toMatchObject({ allowed: true })
      }
    }
  })

  it.each([[{ id: 'a b' }], [{ tags: 'ops' }], [{ tags: [1] }], [{ id: undefined }]])('is looked at as a whole: %j', (odd) => {
    const source = fromPolicies([{ name: 'all', rules: [{ effect: 'allow', actions: ['*'] }] }])
    expect(source.decide({ action: 'a:b', traceId, agent: { ...nobody, ...odd } as never })).toMatchObject({
      code: 'unauthenticated',
    })
  })
})

describe('an attribute that answers differently when it is read again', () => {
  const source = fromPolicies({
    name: 'amounts',
    rules: [{ effect: 'allow', actions: ['*'], conditions: { 'context.amount': { gte: 10, lte: 100 } } }],
  })
  const agent: Agent = { id: 'a', trustTier: 'verified' }

  it('is read once for all operators', () => {
    for (const [first, then] of [
      [5, 50],
      [1000, 50],
      [1000, 5],
    ] as const) {
      const context = turning({}, 'amount', first, then, 1)
      expect(source.decide({ action: 'a:b', traceId, agent, context })).toMatchObject({ allowed: false })
    }
    expect(source.decide({ action: 'a:b', traceId, agent, context: { amount: 50 } })).toMatchObject({ allowed: true })
  })

  it('is a denial if it cannot be read', async () => {
    const context = Object.defineProperty({}, 'amount', {
      get: () => {
        throw new Error('gone')
      },
    })
    expect(await createGuard({ source }).check('a:b', { agent, context })).toMatchObject({ code: 'unavailable' })
  })
})

it('remembers an action without the text that it was cut out of', () => {
  setFlagsFromString('--expose-gc')
  const collect: () => void = runInNewContext('gc')
  const source = fromPolicies({ name: 'all', rules: [{ effect: 'allow', actions: ['query:*'] }] })
  const agent: Agent = { id: 'a', trustTier: 'verified' }
  const ask = (i: number) => {
    const body = new TextDecoder('latin1').decode(new TextEncoder().encode(`query:operation${i} `.padEnd(100_000, 'x')))
    source.decide({ action: body.slice(0, body.indexOf(' ')), traceId, agent })
  }
  ask(0)
  collect()
  const before = process.memoryUsage().heapUsed
  for (let i = 1; i <= 500; i++) ask(i)
  collect()
  expect((process.memoryUsage().heapUsed - before) / 1e6).toBeLessThan(10)
})
