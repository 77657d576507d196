/** The administration by the SDK, agents, policies and audit log included, against a gateway on a real socket. */
import { text } from 'node:stream/consumers'
import { type AuditEntry, AuthenticationError, MeshGuardClient, MeshGuardError, ValidationError } from '@meshguard/client'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { rejection } from '../client/scripted.js'
import { startGateway, type World } from '../gateway/gateway-world.js'

const POLICY = {
  name: 'agents',
  rules: [
    { effect: 'deny', actions: ['delete:database'], reason: 'Databases are for people' },
    { effect: 'allow', actions: ['read:*', 'write:contacts'] },
  ],
}

let world: World
let admin: MeshGuardClient
let client: MeshGuardClient

beforeAll(async () => {
  world = await startGateway({ policies: [POLICY] })
  admin = new MeshGuardClient({ gatewayUrl: world.url, adminToken: world.adminToken })
  client = new MeshGuardClient({ gatewayUrl: world.url, agentToken: (await admin.createAgent({ name: 'scout' })).token })
})
afterAll(async () => {
  await client?.close()
  await admin?.close()
  await world?.close()
})

describe('agents', () => {
  it('are created, listed, changed and revoked', async () => {
    const created = await admin.createAgent({
      name: 'helper',
      trustTier: 'trusted',
      tags: ['sales', 'eu'],
      metadata: { team: 7 },
    })
    expect(created).toMatchObject({ name: 'helper', trustTier: 'trusted', tags: ['sales', 'eu'], token: expect.any(String) })
    const helper = new MeshGuardClient({ gatewayUrl: world.url, agentToken: created.token })
    expect((await helper.check('read:contacts')).agentId).toBe(created.id)
    expect(await admin.listAgents({ tag: 'eu' })).toMatchObject([{ id: created.id, metadata: { team: 7 }, status: 'active' }])
    expect(await admin.updateAgent(created.id, { trustTier: 'verified', tags: [] })).toMatchObject({
      trustTier: 'verified',
      tags: [],
    })
    const { token, expiresAt } = await admin.issueToken(created.id, { expiresIn: '1h', revokePrevious: true })
    expect(Date.parse(expiresAt)).toBeGreaterThan(Date.now())
    expect(await rejection(helper.check('read:contacts'))).toBeInstanceOf(AuthenticationError)
    const again = new MeshGuardClient({ gatewayUrl: world.url, agentToken: token })
    expect((await again.check('read:contacts')).allowed).toBe(true)
    await admin.revokeAgent(created.id)
    expect(await rejection(again.check('read:contacts'))).toBeInstanceOf(AuthenticationError)
    expect(await admin.getAgent(created.id)).toMatchObject({ status: 'revoked' })
  })

  it('have the tier verified unless they are given another', async () => {
    expect(await admin.createAgent({ name: 'plain' })).toMatchObject({ trustTier: 'verified', tags: [] })
  })

  it('are refused with what is wrong', async () => {
    const bad = await rejection(admin.createAgent({ name: '', trustTier: 'royal' as never }))
    expect(bad).toBeInstanceOf(ValidationError)
    expect((bad as unknown as ValidationError).issues.map(({ path }) => path.join('.')).sort()).toEqual(['name', 'trustTier'])
    expect(await rejection(admin.getAgent('agent_unknown'))).toMatchObject({ status: 404, code: 'not_found' })
  })
})

describe('policies', () => {
  const yaml = 'name: reporting\nrules:\n  - effect: allow\n    actions: ["make:reports"]\n'

  it('are listed, applied from YAML and from a document, and deleted', async () => {
    expect((await admin.listPolicies()).map(({ name, origin }) => [name, origin])).toEqual([['agents', 'file']])
    expect((await client.check('make:reports')).allowed).toBe(false)
    const first = await admin.applyPolicy(yaml)
    expect(first).toMatchObject({ name: 'reporting', origin: 'api', revision: 1 })
    expect((await client.check('make:reports')).policy).toBe('reporting')
    const document = { name: 'reporting', rules: [{ effect: 'deny' as const, actions: ['make:reports'] }] }
    expect(await admin.applyPolicy(document, { ifRevision: 1 })).toMatchObject({ revision: 2 })
    expect((await client.check('make:reports')).allowed).toBe(false)
    expect(await rejection(admin.applyPolicy(yaml, { ifRevision: 1 }))).toMatchObject({ status: 412 })
    expect(await rejection(admin.applyPolicy(yaml, { ifRevision: 0 }))).toMatchObject({ status: 412 })
    expect((await admin.getPolicy('reporting')).rules).toMatchObject([{ effect: 'deny' }])
    await admin.deletePolicy('reporting', { ifRevision: 2 })
    expect(await rejection(admin.getPolicy('reporting'))).toMatchObject({ status: 404 })
    expect(await rejection(admin.applyPolicy(yaml.replace('reporting', 'agents')))).toMatchObject({ status: 409 })
  })

  it('are validated and tested without consequences', async () => {
    expect(await admin.validatePolicy(yaml)).toEqual({ valid: true, issues: [] })
    expect(await admin.validatePolicy(yaml.replace('allow', 'maybe'))).toMatchObject({ valid: false, issues: [{ line: 3 }] })
    const before = (await admin.getAuditLog({ limit: 1 }))[0]?.id
    const tested = await admin.testPolicy({ agent: { trustTier: 'verified' }, action: 'delete:database' })
    expect(tested).toMatchObject({ allowed: false, policy: 'agents', steps: [{ policy: 'agents', applies: true }] })
    expect((await admin.getAuditLog({ limit: 1 }))[0]?.id).toBe(before)
  })
})

describe('the audit log', () => {
  it('has a limit and a decision', async () => {
    for (let i = 0; i < 3; i++) await client.check('delete:database')
    const denied = await admin.getAuditLog({ limit: 2, decision: 'deny', action: 'delete:*' })
    expect(denied).toHaveLength(2)
    expect(denied[0]).toMatchObject({ agentName: 'scout', action: 'delete:database', decision: 'deny', policy: 'agents' })
    expect((await admin.getAuditLog({ limit: 1000, decision: 'allow' })).every(({ decision }) => decision === 'allow')).toBe(
      true,
    )
    expect(await admin.getAuditLog({ from: new Date(Date.now() + 60_000) })).toEqual([])
  })

  it('is counted, verified and exported', async () => {
    const { total, allowed, denied, topDenied } = await admin.getAuditStats({ period: '1h' })
    expect(total).toBe(allowed + denied)
    expect(topDenied.map(({ action }) => action)).toContain('delete:database')
    const verified = await admin.verifyAudit()
    expect(verified).toEqual({ valid: true, entries: expect.any(Number) })
    const lines = (await text((await admin.exportAudit()) as never)).trim().split('\n')
    expect(lines).toHaveLength(verified.entries)
    expect(JSON.parse(lines[0] as string)).toHaveProperty('traceId')
    expect(await text((await admin.exportAudit({ format: 'csv' })) as never)).toMatch(/^id,timestamp,traceId/)
  })

  it('is followed as it grows, and resumed after the last entry', async () => {
    const take = async (stream: AsyncIterable<AuditEntry>, count: number) => {
      const taken: AuditEntry[] = []
      for await (const entry of stream) if (taken.push(entry) === count) break
      return taken
    }
    const following = take(admin.streamAudit({ action: 'read:followed' }), 1)
    // The stream begins with what is new once it is open: until then, checks are made again.
    let followed: AuditEntry[] | undefined
    while (followed === undefined) {
      await client.check('read:followed')
      followed = await Promise.race([following, new Promise<undefined>((resolve) => setTimeout(resolve, 50))])
    }
    const [{ id }] = followed as [AuditEntry]
    const { traceId } = await client.check('read:followed', { traceId: 'trace-after-a-pause' })
    const resumed = admin.streamAudit({ traceId, lastEventId: id })
    expect(await take(resumed, 1)).toMatchObject([{ action: 'read:followed', traceId: 'trace-after-a-pause' }])
    expect(await rejection(admin.streamAudit({ lastEventId: 'unknown-entry' }).next())).toBeInstanceOf(ValidationError)
  })
})

describe('service tokens and delegations', () => {
  it('a service token with the scope admin administers until it is revoked', async () => {
    const { id, token, scopes } = await admin.createToken({ name: 'ops', scopes: ['admin'], expiresIn: '1h' })
    expect([token.startsWith('msvc_'), scopes]).toEqual([true, ['admin']])
    const ops = new MeshGuardClient({ gatewayUrl: world.url, adminToken: token })
    expect((await ops.listTokens()).map((one) => one.id)).toContain(id)
    await admin.revokeToken(id)
    expect(await rejection(ops.listTokens())).toBeInstanceOf(AuthenticationError)
  })

  it('a service token without it may not', async () => {
    const { token } = await admin.createToken({ name: 'api', scopes: ['decide'] })
    const error = await rejection(new MeshGuardClient({ gatewayUrl: world.url, adminToken: token }).listAgents())
    expect(error).toBeInstanceOf(MeshGuardError)
    expect([401, 403]).toContain(error['status'])
  })

  it('an agent acts for another within what was delegated', async () => {
    const [boss, helper] = [await admin.createAgent({ name: 'boss' }), await admin.createAgent({ name: 'helper' })]
    const { id, token } = await admin.createDelegation({ from: boss.id, to: helper.id, actions: ['read:*'], expiresIn: '1h' })
    const acting = new MeshGuardClient({ gatewayUrl: world.url, agentToken: token })
    expect(await acting.check('read:contacts')).toMatchObject({ allowed: true, agentId: helper.id })
    expect((await acting.check('write:contacts')).allowed).toBe(false)
    expect((await admin.listDelegations()).map((one) => one.id)).toContain(id)
    await admin.revokeDelegation(id)
    expect(await rejection(acting.check('read:contacts'))).toBeInstanceOf(AuthenticationError)
  })
})
