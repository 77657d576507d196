import { request } from 'undici'
import { describe, expect, it } from 'vitest'
import { authZenWorld, does, record, user } from './authzen-world.js'

const world = authZenWorld()
const READ = { subject: user('alice'), action: does('read'), resource: record('record-1') }
const asAlice = () => ({ authorization: `Bearer ${world.alice}` })

async function entries(filter: string): Promise<Record<string, unknown>[]> {
  const response = await world.world.admin('GET', `/admin/audit?${filter}`)
  return ((await response.json()) as { entries: Record<string, unknown>[] }).entries
}

describe('who may ask', () => {
  it('answers 401 without a good credential, before it looks at the body', async () => {
    for (const authorization of ['', 'Bearer x', 'Bearer msvc_unknown', 'Basic YTpi', `Bearer ${world.alice}x`]) {
      for (const path of ['/access/v1/evaluation', '/access/v1/evaluations']) {
        const { status, headers, body } = await world.post(path, '{', { authorization })
        expect([status, body.error]).toEqual([401, 'unauthorized'])
        expect(headers.get('www-authenticate')).toMatch(/^Bearer realm="meshguard"/)
      }
    }
  })

  it('answers 403 to a service without the scope "decide"', async () => {
    const authorization = `Bearer ${await world.world.createService('audit:read', 'bundle')}`
    expect((await world.evaluation(READ, { authorization })).status).toBe(403)
    expect((await world.evaluations({ evaluations: [READ] }, { authorization })).status).toBe(403)
  })

  it('lets an agent ask for itself, and for nobody else', async () => {
    expect((await world.evaluation(READ, asAlice())).body.decision).toBe(true)
    expect((await world.evaluation({ ...READ, subject: user('bob') }, asAlice())).status).toBe(403)
    expect((await world.evaluation({ ...READ, subject: user('ALICE') }, asAlice())).status).toBe(403)
    const { status, body } = await world.evaluations({ ...READ, evaluations: [{}, { subject: user('bob') }] }, asAlice())
    expect([status, body.evaluations[0].decision, body.evaluations[1].decision]).toEqual([200, true, false])
    expect(body.evaluations[1].context.error.status).toBe(403)
  })

  it('takes properties of a subject from a service alone, whatever else they are called', async () => {
    const asked = {
      subject: user('alice', { role: 'admin' }),
      action: does('write'),
      resource: record('r', { status: 'archived' }),
    }
    expect((await world.evaluation(asked)).body.decision).toBe(true)
    expect((await world.evaluation(asked, asAlice())).status).toBe(403)
    const smuggled = { ...asked, subject: user('alice'), context: { subject: { role: 'admin' } } }
    expect((await world.evaluation(smuggled, asAlice())).body.decision).toBe(false)
    expect((await world.evaluation(smuggled)).body.decision).toBe(false)
  })

  it('leaves tier and tags to the registry, whatever the properties say', async () => {
    const { id } = await world.world.createAgent({ id: 'low', trustTier: 'unverified' })
    const subject = user(id, { trustTier: 'privileged', id: 'alice', tags: ['production'] })
    expect((await world.evaluation({ ...READ, subject })).body.decision).toBe(false)
  })

  it('answers 200 false for an agent that is unknown or revoked', async () => {
    const { id } = await world.world.createAgent({ id: 'gone' })
    await world.world.admin('DELETE', `/admin/agents/${id}`)
    for (const subject of [user('nobody'), user(id), user('../alice'), user('x'.repeat(300))]) {
      const { status, body } = await world.evaluation({ ...READ, subject })
      expect([status, body.decision, body.context.code]).toEqual([200, false, 'unauthenticated'])
    }
  })
})

describe('what is asked', () => {
  it('makes the action of its name and the type, unless the name is one', async () => {
    const traceId = 'authzen-action-0001'
    await world.evaluation(
      { ...READ, action: does('read:contacts'), resource: { type: 'a/b', id: 'c d/é' } },
      { 'x-meshguard-trace-id': traceId },
    )
    await world.evaluation({ ...READ, resource: { type: 'record', id: '*' } }, { 'x-meshguard-trace-id': traceId })
    const found = await entries(`traceId=${traceId}`)
    expect(found.map(({ action, resource }) => [action, resource])).toEqual([
      ['read:record', 'record/*'],
      ['read:contacts', 'a%2Fb/c%20d%2F%C3%A9'],
    ])
  })

  it('names what is missing or of another type by its place', async () => {
    const answer = await world.evaluation({ subject: { type: 'agent', id: 7 }, action: {}, resource: [] })
    expect([answer.status, answer.body['issues']]).toEqual([
      400,
      [
        { path: 'subject.id', message: 'subject.id: expected text (quote it if it is not), not 7' },
        { path: 'action.name', message: expect.stringMatching(/^action: "name" is missing/) },
        { path: 'resource', message: expect.stringMatching(/^resource: expected an object/) },
      ],
    ])
  })

  it('denies what is no action, and answers 400 to what is no resource', async () => {
    for (const name of ['read *', '*', ':', 'x:*', 'ü']) {
      const { status, body } = await world.evaluation({ ...READ, action: does(name) })
      expect([name, status, body.decision]).toEqual([name, 200, false])
    }
    for (const id of ['.', '..', '\u0000', 'x'.repeat(257), '\ud800']) {
      expect([id, (await world.evaluation({ ...READ, resource: record(id) })).status]).toEqual([id, 400])
    }
  })

  it('refuses keys that would pollute, deep nesting, long bodies and too many questions', async () => {
    expect((await world.evaluation('{"subject":{"type":"user","id":"alice","__proto__":{}}}')).status).toBe(400)
    const deep = (n: number): object => (n === 0 ? {} : { x: deep(n - 1) })
    expect((await world.evaluation({ ...READ, context: deep(7) })).status).toBe(200)
    expect((await world.evaluation({ ...READ, context: deep(8) })).status).toBe(400)
    expect((await world.evaluation({ ...READ, context: { x: 'x'.repeat(70_000) } })).status).toBe(413)
    expect((await world.evaluations({ ...READ, evaluations: Array(64).fill({}) })).status).toBe(200)
    expect((await world.evaluations({ ...READ, evaluations: Array(65).fill({}) })).status).toBe(400)
    expect((await world.evaluations({ ...READ, evaluations: [null] })).status).toBe(400)
    expect((await world.evaluations({ ...READ, evaluations: [{}], options: { evaluations_semantic: 'any' } })).status).toBe(400)
  })

  it('consumes rate limits in order, and denies beyond them with 200', async () => {
    const { body } = await world.evaluations({
      ...READ,
      action: does('limited'),
      evaluations: [{}, {}, {}, { action: does('read') }],
    })
    expect(body.evaluations.map(({ decision }: { decision: boolean }) => decision)).toEqual([true, true, false, true])
    expect(body.evaluations[2].context).toMatchObject({ code: 'rate_limited', retryAfter: 1800 })
  })
})

describe('semantics', () => {
  const asked = (evaluations_semantic: string, ...names: string[]) =>
    world.evaluations({
      subject: user('bob'),
      resource: record('record-1'),
      options: { evaluations_semantic },
      evaluations: names.map((name) => (name === '' ? { action: {} } : { action: does(name) })),
    })
  const decisions = async (...args: Parameters<typeof asked>) =>
    (await asked(...args)).body.evaluations.map(({ decision }: { decision: boolean }) => decision)

  it('executes all, or stops at the first deny or the first permit', async () => {
    expect(await decisions('execute_all', 'read', 'write', 'read')).toEqual([true, false, true])
    expect(await decisions('deny_on_first_deny', 'read', 'write', 'read')).toEqual([true, false])
    expect(await decisions('deny_on_first_deny', 'read', 'read')).toEqual([true, true])
    expect(await decisions('permit_on_first_permit', 'write', 'read', 'read')).toEqual([false, true])
    expect(await decisions('permit_on_first_permit', 'write', 'write')).toEqual([false, false])
  })

  it('takes a question that is not well formed for a deny', async () => {
    expect(await decisions('deny_on_first_deny', 'read', '', 'read')).toEqual([true, false])
    expect(await decisions('permit_on_first_permit', '', 'read', 'read')).toEqual([false, true])
  })

  it('records nothing behind the end', async () => {
    const headers = { 'x-meshguard-trace-id': 'authzen-stops-0001' }
    const body = {
      ...READ,
      options: { evaluations_semantic: 'permit_on_first_permit' },
      evaluations: [{}, { action: does('write') }],
    }
    await world.evaluations(body, headers)
    expect((await entries('traceId=authzen-stops-0001')).map(({ action }) => action)).toEqual(['read:record'])
  })
})

describe('what is answered and recorded', () => {
  it('says why in the context of a deny', async () => {
    const { headers, body } = await world.evaluation({
      ...READ,
      action: does('write'),
      resource: record('r', { status: 'archived' }),
    })
    expect(body.context).toEqual({
      code: 'denied',
      reason: 'Denied by rule: deny write:record',
      policy: 'certification',
      rule: 'deny write:record',
      traceId: headers.get('x-meshguard-trace-id'),
    })
  })

  it('records who asked: the service, or the agent itself', async () => {
    const headers = { 'x-meshguard-trace-id': 'authzen-recorded-1' }
    await world.evaluation(READ, headers)
    await world.evaluation(READ, { ...headers, ...asAlice() })
    await world.evaluation({ ...READ, subject: user('nobody') }, headers)
    const [unknown, own, service] = await entries('traceId=authzen-recorded-1')
    expect(service).toMatchObject({
      agentId: 'alice',
      decision: 'allow',
      service: { name: 'test' },
      request: { method: 'POST' },
    })
    expect(own).toMatchObject({ agentId: 'alice', claimed: true })
    expect(unknown).toMatchObject({ decision: 'deny', code: 'unauthenticated' })
    expect(unknown).not.toHaveProperty('agentId')
  })

  it('tells the address by which it was asked, with https unless it is this machine, and nothing else', async () => {
    const ask = async (host: string) => {
      const { statusCode, body } = await request(`${world.world.url}/.well-known/authzen-configuration`, { headers: { host } })
      const answer = (await body.json()) as Record<string, string>
      return statusCode === 200 ? answer['policy_decision_point'] : statusCode
    }
    expect(await ask('pdp.example.com')).toBe('https://pdp.example.com')
    expect(await ask('pdp.example.com:8443')).toBe('https://pdp.example.com:8443')
    expect(await ask('localhost:3100')).toBe('http://localhost:3100')
    expect(await ask('[::1]:3100')).toBe('http://[::1]:3100')
    for (const host of ['evil.example/path', 'a b', 'user@evil.example', 'x"y']) expect(await ask(host)).toBe(400)
  })
})
