import { createPolicies, fromPolicies } from '@meshguard/core'
import fc from 'fast-check'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { policiesInSmallLetters, smallLetters } from '../../packages/gateway/src/decide/small-letters.js'
import { withGateway } from './gateway-world.js'
import { startUpstream, type Upstream } from './upstream.js'

let upstream: Upstream

beforeAll(async () => {
  upstream = await startUpstream()
})
afterAll(() => upstream.close())
beforeEach(() => {
  upstream.received.length = 0
})

const withProxy = (...[options, run]: Parameters<typeof withGateway>) =>
  withGateway({ proxy: { target: upstream.origin }, ...options }, run)

describe('A path in capitals', () => {
  const SECRETS = {
    name: 'secrets',
    rules: [
      { effect: 'deny', actions: ['*:admin', '*:admin/*'] },
      { effect: 'allow', actions: ['read:*'] },
    ],
  }
  const OWN = {
    name: 'own',
    rules: [{ effect: 'allow', actions: ['read:userProfiles'] }],
  }

  test.each(['/ADMIN', '/Admin/keys', '/%41dmin', '/API/admin', '/api/V1/admiN'])(
    'is denied by the rule for small letters, as the upstream may take them for the same: %s',
    async (path) => {
      await withProxy({ policies: [SECRETS] }, async (own, headers) => {
        const answer = await own.fetch(`/proxy${path}`, { headers })
        expect(answer.status).toBe(403)
        expect(await answer.json()).toMatchObject({ code: 'denied', policy: 'secrets' })
        expect(upstream.received).toEqual([])
      })
    },
  )

  test('is denied by the rule for an agent on whose behalf another one acts', async () => {
    const forTagged = { ...SECRETS, appliesTo: { tags: ['guest'] } }
    const forOthers = { name: 'others', rules: [{ effect: 'allow', actions: ['read:*'] }] }
    await withProxy({ policies: [forTagged, forOthers] }, async (own) => {
      const root = await own.createAgent({ id: 'root', tags: ['guest'] })
      const leaf = await own.createAgent({ id: 'leaf' })
      const body = { from: root.id, to: leaf.id, actions: ['read:*'], expiresIn: '1h' }
      const { token } = await (await own.admin('POST', '/admin/delegations', body)).json()
      const ask = (path: string, by: string) => own.fetch(`/proxy${path}`, { headers: { authorization: `Bearer ${by}` } })
      expect((await ask('/Admin', leaf.token)).status).toBe(200)
      upstream.received.length = 0
      const answer = await ask('/Admin', token)
      expect([answer.status, answer.headers.get('x-meshguard-agent-id')]).toEqual([403, leaf.id])
      expect(upstream.received).toEqual([])
    })
  })

  test('needs no rule for small letters to be allowed', async () => {
    await withProxy({ policies: [OWN] }, async (own, headers) => {
      expect((await own.fetch('/proxy/userProfiles', { headers })).status).toBe(200)
      expect((await own.fetch('/proxy/userprofiles', { headers })).status).toBe(403)
    })
  })

  test.each([
    ['a deny in capitals to a path in small letters', '/admintools', 403],
    ['a deny in capitals to its own spelling', '/adminTools', 403],
    ['a deny in capitals to another spelling', '/ADMINTOOLS/keys', 403],
    ['a deny of a resource in capitals', '/reports/q3-final', 403],
    ['an allow in capitals, before a wider deny, to its own spelling', '/publicDocs', 200],
    ['an allow in capitals, before a wider deny, not to another', '/publicdocs', 403],
    ['a path that no rule denies in any spelling', '/Contacts', 200],
  ])('%s', async (_what, path, status) => {
    const MIXED = {
      name: 'mixed',
      rules: [
        { effect: 'deny', actions: ['*:adminTools', '*:adminTools/*'] },
        { effect: 'deny', actions: ['*:reports/*'], conditions: { resource: { endsWith: ['-Final'] } } },
        { effect: 'allow', actions: ['read:publicDocs'] },
        { effect: 'deny', actions: ['*:public*'] },
        { effect: 'allow', actions: ['read:*'] },
      ],
    }
    await withProxy({ policies: [MIXED] }, async (own, headers) => {
      const answer = await own.fetch(`/proxy${path}`, { headers })
      expect([answer.status, upstream.received.length]).toEqual([status, status === 200 ? 1 : 0])
    })
  })

  test('is compared with the policies that are in force now', async () => {
    await withProxy({ policies: [OWN] }, async (own, headers) => {
      const rules = [{ effect: 'deny', actions: ['read:userProfiles'], reason: 'Not today' }]
      expect((await own.fetch('/proxy/userProfiles', { headers })).status).toBe(200)
      expect((await own.admin('PUT', '/admin/policies/not-today', { name: 'not-today', rules })).status).toBe(201)
      const all = { name: 'all', rules: [{ effect: 'allow', actions: ['read:*'] }] }
      expect((await own.admin('PUT', '/admin/policies/all', all)).status).toBe(201)
      const answer = await own.fetch('/proxy/userprofiles', { headers })
      expect([answer.status, await answer.json()]).toMatchObject([403, { policy: 'not-today', message: 'Not today' }])
    })
  })
})

describe('Policies in small letters', () => {
  const agent = { id: 'agent-1', trustTier: 'verified', tags: [] } as const
  const deciding = (rules: readonly object[]) => {
    const set = createPolicies([{ name: 'own', rules: rules as never }])
    const small = policiesInSmallLetters({ current: () => set })
    const { decide } = fromPolicies(small)
    return {
      set,
      small,
      codeOf: (action: string) => (decide({ action, agent, traceId: 'trace-0001' }) as { code: string }).code,
    }
  }

  test('are the set itself where nothing in it has capitals, and are made once', () => {
    const plain = deciding([{ effect: 'allow', actions: ['read:*'] }])
    expect(plain.small.current()).toBe(plain.set)
    const mixed = deciding([{ effect: 'deny', actions: ['read:A'] }])
    expect(mixed.small.current()).not.toBe(mixed.set)
    expect(mixed.small.current()).toBe(mixed.small.current())
  })

  test('deny every spelling of what a first rule denies, and nothing that no rule denies in any', () => {
    const word = fc.string({ unit: fc.constantFrom(...'abAB/'), minLength: 1, maxLength: 6 })
    fc.assert(
      fc.property(word, word, fc.boolean(), (denied, asked, open) => {
        const pattern = `read:${denied}${open ? '*' : ''}`
        const { codeOf } = deciding([
          { effect: 'deny', actions: [pattern] },
          { effect: 'allow', actions: ['*'] },
        ])
        const [of, what] = [denied.toLowerCase(), asked.toLowerCase()]
        const isDenied = open ? what.startsWith(of) : what === of
        expect(codeOf(smallLetters(`read:${asked}`))).toBe(isDenied ? 'denied' : 'allowed')
      }),
    )
  })
})
