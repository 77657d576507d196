import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { AuthenticationError, agentTokens, generateKeys, mintAgentToken } from '@meshguard/core'
import { decodeJwt, decodeProtectedHeader, type JSONWebKeySet, SignJWT } from 'jose'
import { pino } from 'pino'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createKeys } from '../../packages/gateway/src/identity/create-keys.js'
import type { AgentRecord, DelegationRecord } from '../../packages/gateway/src/store/store.js'

const SECRET = 'a secret of the gateway, 32 bytes or more'
const DAY_MS = 86_400_000
const AGENT: AgentRecord = {
  id: 'agent_1',
  name: 'Report bot',
  trustTier: 'trusted',
  tags: ['sales'],
  metadata: { orgId: 'org_1', other: 1 },
  status: 'active',
  generation: 3,
  createdAt: 0,
  updatedAt: 0,
}

let folder: string
let now: number
let warnings: string[]
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'meshguard-keys-'))
  now = Date.now()
  warnings = []
})
afterEach(() => rm(folder, { recursive: true }))

const fileOf = () => join(folder, 'keys', 'signing-keys.json')
const log = pino({ level: 'warn' }, { write: (line: string) => void warnings.push((JSON.parse(line) as { msg: string }).msg) })
const open = ({ jwtSecret, jwtExpiresInMs = DAY_MS }: { jwtSecret?: string; jwtExpiresInMs?: number } = {}) =>
  createKeys({ config: { signingKeyFile: fileOf(), jwtSecret, jwtExpiresInMs }, log, now: () => now })
const failing = async (work: () => unknown) => {
  try {
    await work()
  } catch (error) {
    return error as Error
  }
  throw new Error('nothing was thrown')
}

describe('The key file', () => {
  test('is made on first start, for its owner alone, and nothing is left beside it', async () => {
    await open()
    expect((await stat(fileOf())).mode & 0o777).toBe(0o600)
    expect((await stat(join(folder, 'keys'))).mode & 0o777).toBe(0o700)
    expect(await readdir(join(folder, 'keys'))).toEqual(['signing-keys.json'])
  })

  test('is kept: a gateway that starts again verifies what it signed', async () => {
    const { token } = await (await open()).mint(AGENT)
    const again = await open()
    expect(await again.verify(token)).toMatchObject({ sub: 'agent_1' })
  })

  test('is the same for gateways that start at once', async () => {
    const gateways = await Promise.all(Array.from({ length: 8 }, () => open()))
    const kids = gateways.map((keys) => keys.jwks().keys[0]?.kid)
    expect(new Set(kids).size).toBe(1)
  })

  test.each([0o604, 0o602, 0o620, 0o666])('of mode %o is refused, as others can use it', async (mode) => {
    await open()
    await chmod(fileOf(), mode)
    expect((await failing(open)).message).toContain('chmod 600')
  })

  test('that its group can read is a warning', async () => {
    await open()
    await chmod(fileOf(), 0o440)
    await open()
    expect(warnings).toEqual([expect.stringContaining('mode 0440')])
  })

  test.each(['', '{}', 'not JSON', '{"version":2}'])('that holds %j is refused by name and left alone', async (text) => {
    await open()
    await writeFile(fileOf(), text)
    expect((await failing(open)).message).toContain(fileOf())
    expect(await readFile(fileOf(), 'utf8')).toBe(text)
  })

  test('cannot be made where there is a file for its folder', async () => {
    await writeFile(join(folder, 'keys'), '')
    expect(await failing(open)).toBeInstanceOf(Error)
  })
})

describe('A token', () => {
  test('says who the agent is, and its generation', async () => {
    const keys = await open()
    const { token, expiresAt, jti } = await keys.mint(AGENT)
    expect(decodeProtectedHeader(token)).toEqual({ alg: 'EdDSA', typ: 'JWT', kid: keys.jwks().keys[0]?.kid })
    const iat = Math.floor(now / 1000)
    const claims = {
      sub: 'agent_1',
      name: 'Report bot',
      tier: 'trusted',
      tags: ['sales'],
      gen: 3,
      orgId: 'org_1',
      iss: 'meshguard',
      aud: 'meshguard',
    }
    expect(decodeJwt(token)).toEqual({ ...claims, iat, exp: iat + 86_400, jti })
    expect(expiresAt).toBe((iat + 86_400) * 1000)
  })

  test('is verified by core with the published keys', async () => {
    const keys = await open()
    const { token } = await keys.mint(AGENT)
    const authenticate = agentTokens({ jwks: keys.jwks() })
    expect(await authenticate(token)).toMatchObject({ id: 'agent_1', trustTier: 'trusted' })
  })

  test('is answered at once, and as the same claims, when it is remembered', async () => {
    const keys = await open()
    const { token } = await keys.mint(AGENT)
    const claims = await keys.verify(token)
    expect(keys.verify(token)).toBe(claims)
    expect(Object.isFrozen(claims)).toBe(true)
    now += DAY_MS + 6000
    expect(() => keys.verify(token)).toThrow(AuthenticationError)
  })

  test('lives from 1 s to the larger of 24 h and JWT_EXPIRES_IN', async () => {
    const keys = await open({ jwtExpiresInMs: 3_600_000 })
    expect(decodeJwt((await keys.mint(AGENT)).token).exp).toBe(Math.floor(now / 1000) + 3600)
    await keys.mint(AGENT, { expiresInMs: DAY_MS })
    for (const expiresInMs of [DAY_MS + 1000, 999, -1, Number.NaN]) {
      expect(await failing(() => keys.mint(AGENT, { expiresInMs }))).toMatchObject({ status: 400 })
    }
    const longer = await open({ jwtExpiresInMs: 7 * DAY_MS })
    expect(await longer.verify((await longer.mint(AGENT)).token)).toBeDefined()
  })

  test('of a delegation is for the root, names the actors with the leaf outermost, and the hops from the root on', async () => {
    const hop = (id: string, from: string, to: string): DelegationRecord => ({
      id,
      from,
      to,
      actions: ['read:*'],
      depth: 1,
      createdAt: 0,
      expiresAt: 0,
    })
    const keys = await open()
    const { token } = await keys.mint(
      { ...AGENT, id: 'leaf' },
      { chain: [hop('d1', 'root', 'middle'), hop('d2', 'middle', 'leaf')] },
    )
    expect(decodeJwt(token)).toMatchObject({
      sub: 'root',
      gen: 3,
      act: { sub: 'leaf', act: { sub: 'middle' } },
      delegation: [
        { id: 'd1', actions: ['read:*'] },
        { id: 'd2', actions: ['read:*'] },
      ],
    })
    expect(decodeJwt(token)).not.toHaveProperty('tier')
    expect(await keys.verify(token)).toHaveProperty('delegation')
  })

  test.each([
    [
      'by another Ed25519 key of the same name',
      async (jwks: JSONWebKeySet) => {
        const { privateKey } = await generateKeys()
        return mintAgentToken({ id: 'agent_1', key: { ...privateKey, kid: jwks.keys[0]?.kid as string } })
      },
    ],
    [
      'by HS256 with the public key for a secret',
      async (jwks: JSONWebKeySet) => {
        const key = new TextEncoder().encode(JSON.stringify(jwks.keys[0]))
        return new SignJWT({ sub: 'agent_1' })
          .setProtectedHeader({ alg: 'HS256', typ: 'JWT', kid: jwks.keys[0]?.kid as string })
          .setIssuer('meshguard')
          .setIssuedAt()
          .setExpirationTime('1h')
          .sign(key)
      },
    ],
    ['by nobody', async () => 'eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiJhZ2VudF8xIn0.'],
    ['for another type', async (_: JSONWebKeySet, checkpoint: string) => checkpoint],
  ])('signed %s is refused', async (_, make) => {
    const keys = await open()
    const checkpoint = await keys.signCheckpoint({ sub: 'agent_1', iss: 'meshguard', iat: now / 1000, exp: now / 1000 + 60 })
    const token = await make(keys.jwks(), checkpoint)
    expect(await failing(() => keys.verify(token))).toBeInstanceOf(AuthenticationError)
  })
})

describe('With JWT_SECRET', () => {
  test('tokens are signed with HS256, and no key is published', async () => {
    const keys = await open({ jwtSecret: SECRET })
    const { token } = await keys.mint(AGENT)
    expect(decodeProtectedHeader(token)).toEqual({ alg: 'HS256', typ: 'JWT' })
    expect(keys.jwks()).toEqual({ keys: [] })
    expect(await keys.verify(token)).toMatchObject({ sub: 'agent_1', gen: 3 })
  })

  test('tokens that were signed with Ed25519 before stay good', async () => {
    const { token } = await (await open()).mint(AGENT)
    expect(await (await open({ jwtSecret: SECRET })).verify(token)).toMatchObject({ sub: 'agent_1' })
  })

  test('tokens of HS256 are no good without it, or when they name a key', async () => {
    const { token } = await (await open({ jwtSecret: SECRET })).mint(AGENT)
    const without = await open()
    expect(await failing(() => without.verify(token))).toBeInstanceOf(AuthenticationError)
    const keys = await open({ jwtSecret: SECRET })
    const kid = (await open()).jwks().keys[0]?.kid as string
    const named = await new SignJWT({ sub: 'agent_1' })
      .setProtectedHeader({ alg: 'HS256', typ: 'JWT', kid })
      .setIssuer('meshguard')
      .setIssuedAt()
      .setExpirationTime('1h')
      .sign(new TextEncoder().encode(SECRET))
    expect(await failing(() => keys.verify(named))).toBeInstanceOf(AuthenticationError)
  })

  test('the key is changed there, not rotated', async () => {
    const keys = await open({ jwtSecret: SECRET })
    expect(await failing(() => keys.rotate())).toMatchObject({ status: 409 })
  })
})

describe('Rotation', () => {
  test('signs with a new key, and the old one verifies for as long as its tokens may live', async () => {
    const keys = await open()
    const [before] = keys.jwks().keys
    const old = await keys.mint(AGENT)
    await keys.rotate()
    const young = await keys.mint(AGENT)
    expect(decodeProtectedHeader(young.token).kid).not.toBe(before?.kid)
    expect(keys.jwks().keys.map(({ kid }) => kid)).toEqual([decodeProtectedHeader(young.token).kid, before?.kid])
    for (const { token } of [old, young]) {
      expect(await keys.verify(token)).toMatchObject({ sub: 'agent_1' })
      expect(await (await open()).verify(token)).toMatchObject({ sub: 'agent_1' })
    }
    now += DAY_MS - 1000
    expect(await (await open()).verify(old.token)).toBeDefined()
    now += 30_000
    expect(keys.jwks().keys).toHaveLength(1)
  })

  test('keeps no private half of an old key, and forgets an old key that is over', async () => {
    const keys = await open()
    await keys.rotate()
    const { retired } = JSON.parse(await readFile(fileOf(), 'utf8')) as { retired: { key: object }[] }
    expect(retired).toHaveLength(1)
    expect(retired[0]?.key).not.toHaveProperty('d')
    now += DAY_MS + 60_000
    await keys.rotate()
    expect((JSON.parse(await readFile(fileOf(), 'utf8')) as { retired: object[] }).retired).toHaveLength(1)
    expect((await stat(fileOf())).mode & 0o777).toBe(0o600)
  })

  test('asked for many times at once, is done as many times, and no key is lost', async () => {
    const keys = await open()
    const { token } = await keys.mint(AGENT)
    await Promise.all([keys.rotate(), keys.rotate(), keys.rotate()])
    expect(keys.jwks().keys).toHaveLength(4)
    expect(await (await open()).verify(token)).toBeDefined()
  })

  test('at one of two gateways with one file is known to the other at once, which signs with the new key too', async () => {
    const [one, other] = [await open(), await open()]
    const old = await other.mint(AGENT)
    await one.rotate()
    const young = await one.mint(AGENT)
    expect(await Promise.all([other.verify(young.token), other.verify(young.token), other.verify(old.token)])).toHaveLength(3)
    await one.rotate()
    const { token } = await other.mint(AGENT)
    expect(decodeProtectedHeader(token).kid).toBe(one.jwks().keys[0]?.kid)
    await Promise.all([one.rotate().then(() => other.rotate())])
    await one.refresh()
    expect([one.jwks().keys.length, other.jwks().keys.length]).toEqual([5, 5])
  })

  test('takes over no file that is damaged, or of another installation', async () => {
    const keys = await open()
    const before = keys.jwks()
    const text = await readFile(fileOf(), 'utf8')
    const { token } = await keys.mint(AGENT)
    await writeFile(fileOf(), '{}')
    expect([await keys.refresh(), keys.jwks()]).toEqual([false, before])
    const file = JSON.parse(text)
    await writeFile(fileOf(), JSON.stringify({ ...file, checkpoint: file.token }))
    expect([await keys.refresh(), keys.jwks()]).toEqual([false, before])
    expect(await keys.verify(token)).toBeDefined()
  })

  test('that cannot be written changes nothing', async () => {
    const keys = await open()
    const { token } = await keys.mint(AGENT)
    const before = keys.jwks()
    await rm(join(folder, 'keys'), { recursive: true })
    await writeFile(join(folder, 'keys'), '')
    await failing(() => keys.rotate())
    expect(keys.jwks()).toEqual(before)
    expect(await keys.verify(token)).toBeDefined()
    await rm(join(folder, 'keys'))
    await keys.rotate()
    expect(keys.jwks().keys).toHaveLength(2)
  })
})

describe('A checkpoint', () => {
  const payload = { writer: 'gateway', sequence: 7, hash: 'ab', timestamp: 1 }

  test('is verified by another start of the same gateway', async () => {
    const jws = await (await open()).signCheckpoint(payload)
    expect(await (await open()).verifyCheckpoint(jws)).toEqual(payload)
    expect(decodeProtectedHeader(jws)).toMatchObject({ alg: 'EdDSA', typ: 'meshguard-checkpoint+jws' })
  })

  test('is verified after a rotation: it has a key of its own', async () => {
    const keys = await open()
    const jws = await keys.signCheckpoint(payload)
    await keys.rotate()
    expect(await keys.verifyCheckpoint(jws)).toEqual(payload)
    expect(keys.jwks().keys.map(({ kid }) => kid)).not.toContain(decodeProtectedHeader(jws).kid)
  })

  test('that was changed anywhere is refused, and so is a token', async () => {
    const keys = await open()
    const jws = await keys.signCheckpoint(payload)
    const { token } = await keys.mint(AGENT)
    const [head, , signature] = jws.split('.')
    const other = Buffer.from(JSON.stringify({ ...payload, sequence: 8 })).toString('base64url')
    for (const bad of [`${head}.${other}.${signature}`, `${jws}x`, `${jws}.`, `${head}.${other}.`, token, '', '..']) {
      expect(await failing(() => keys.verifyCheckpoint(bad)), bad).toBeInstanceOf(Error)
    }
  })
})
