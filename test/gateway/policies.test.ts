import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type PolicyDocument, ValidationError } from '@meshguard/core'
import pino from 'pino'
import { afterEach, describe, expect, it } from 'vitest'
import { completeConfig } from '../../packages/gateway/src/config.js'
import { createPolicyRegistry } from '../../packages/gateway/src/policies/policy-registry.js'
import type { PolicyRegistry } from '../../packages/gateway/src/services.js'
import { openStore } from '../../packages/gateway/src/store/open-store.js'
import type { PolicyStore, Store } from '../../packages/gateway/src/store/store.js'

const START = Date.UTC(2026, 0, 1)
const opened: (() => Promise<unknown>)[] = []

afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close()
})

const policy = (name: string, action = 'read:*'): PolicyDocument => ({ name, rules: [{ effect: 'allow', actions: [action] }] })
const yaml = (name: string, action = 'read:*') => `name: ${name}\nrules:\n  - effect: allow\n    actions: ["${action}"]\n`
const many = (name: string, count: number): PolicyDocument => ({
  name,
  rules: Array.from({ length: count }, (_, i) => ({ name: `r${i}`, effect: 'allow', actions: ['read:*'] })),
})

interface World {
  readonly registry: PolicyRegistry
  readonly store: Store
  readonly fault: Partial<PolicyStore>
  readonly clock: { now: number }
  write(file: string, text: string): Promise<void>
  remove(file: string): Promise<void>
  /** A second registry over the same folder and database, as after a restart. */
  again(): Promise<PolicyRegistry>
}

async function openWorld(
  files: Readonly<Record<string, string>> | undefined,
  stored: readonly PolicyDocument[] = [],
): Promise<World> {
  const dataDir = await mkdtemp(join(tmpdir(), 'meshguard-policies-'))
  opened.push(() => rm(dataDir, { recursive: true }))
  const policiesDir = join(dataDir, 'policies')
  const write = (file: string, text: string) => writeFile(join(policiesDir, file), text)
  if (files !== undefined) {
    await mkdir(policiesDir)
    for (const [file, text] of Object.entries(files)) await write(file, text)
  }
  const config = completeConfig({ dataDir, ...(files !== undefined && { policiesDir }) })
  const log = pino({ level: 'silent' })
  const clock = { now: START }
  const now = () => clock.now
  const store = await openStore(`sqlite:${join(dataDir, 'meshguard.db')}`, { log, now })
  opened.push(() => store.close())
  for (const document of stored) await store.policies.put(document, START)
  const fault: Partial<PolicyStore> = {}
  const policies = new Proxy(store.policies, { get: (target, name) => Reflect.get(fault, name) ?? Reflect.get(target, name) })
  const again = async () => {
    const registry = await createPolicyRegistry({ store: { ...store, policies }, config, log, now })
    opened.push(() => registry.close())
    return registry
  }
  return { registry: await again(), store, fault, clock, write, remove: (file) => rm(join(policiesDir, file)), again }
}

const inForce = (registry: PolicyRegistry) =>
  registry.current().policies.map(({ name, rules }) => `${name} ${rules[0]?.actions}`)
const listed = async (registry: PolicyRegistry) =>
  (await registry.list()).map(({ document, origin, revision, shadowed }) => [
    document.name,
    origin,
    revision,
    shadowed === true,
  ])

describe('the policies of a gateway', () => {
  it('are none without a folder and a database that holds some', async () => {
    const { registry } = await openWorld(undefined)
    expect(registry.current().policies).toEqual([])
    expect(await registry.list()).toEqual([])
    expect(registry.problem()).toBeUndefined()
  })

  it('are those of the folder and those of the database, side by side', async () => {
    const { registry } = await openWorld({ 'one.yaml': yaml('filed') }, [policy('stored', 'write:*')])
    expect(inForce(registry)).toEqual(['filed read:*', 'stored write:*'])
    expect(await listed(registry)).toEqual([
      ['filed', 'file', undefined, false],
      ['stored', 'api', 1, false],
    ])
    expect((await registry.get('filed'))?.document).toMatchObject({ rules: [{ effect: 'allow', actions: ['read:*'] }] })
    expect((await registry.get('stored'))?.document).toEqual(policy('stored', 'write:*'))
    expect(await registry.get('neither')).toBeUndefined()
  })

  it('are the same object until one of them changes', async () => {
    const { registry } = await openWorld({ 'one.yaml': yaml('filed') }, [policy('stored')])
    const before = registry.current()
    await registry.put(policy('stored'))
    expect(registry.current()).toBe(before)
    await registry.put(policy('stored', 'write:*'))
    expect(registry.current()).not.toBe(before)
  })

  it('of a file win over one of the same name, which is shadowed until the file goes', async () => {
    const { registry, write, remove } = await openWorld({ 'one.yaml': yaml('both'), 'two.yaml': yaml('filed') }, [
      policy('both', 'write:*'),
    ])
    expect(inForce(registry)).toEqual(['both read:*', 'filed read:*'])
    expect(await listed(registry)).toContainEqual(['both', 'api', 1, true])
    expect((await registry.get('both'))?.origin).toBe('file')
    await remove('one.yaml')
    await expect.poll(() => inForce(registry), { timeout: 10_000 }).toEqual(['both write:*', 'filed read:*'])
    expect(await listed(registry)).toContainEqual(['both', 'api', 1, false])
    await write('one.yaml', yaml('both', 'delete:*'))
    await expect.poll(() => inForce(registry), { timeout: 10_000 }).toEqual(['both delete:*', 'filed read:*'])
  })

  it('of a file are read-only', async () => {
    const { registry, store } = await openWorld({ 'one.yaml': yaml('filed') })
    await expect(registry.put(policy('filed', 'write:*'))).rejects.toMatchObject({ status: 409, message: /POLICIES_DIR/ })
    await expect(registry.delete('filed')).rejects.toMatchObject({ status: 409 })
    expect(await store.policies.list()).toEqual([])
    expect(inForce(registry)).toEqual(['filed read:*'])
  })

  it('come, change and go through the API, and are there after a restart', async () => {
    const { registry, clock, again } = await openWorld(undefined)
    expect(await registry.put(policy('stored'), 0)).toMatchObject({ origin: 'api', revision: 1, updatedAt: START })
    clock.now += 1000
    expect(await registry.put(policy('stored', 'write:*'), 1)).toMatchObject({ revision: 2, updatedAt: START + 1000 })
    expect(inForce(await again())).toEqual(['stored write:*'])
    await registry.delete('stored', 2)
    expect(inForce(registry)).toEqual([])
    expect(inForce(await again())).toEqual([])
    await expect(registry.delete('stored')).rejects.toMatchObject({ status: 404 })
  })

  it('are never overwritten by who has not seen the last change', async () => {
    const { registry } = await openWorld(undefined, [policy('stored')])
    await expect(registry.put(policy('stored', 'write:*'), 0)).rejects.toMatchObject({ status: 412 })
    await expect(registry.delete('stored', 7)).rejects.toMatchObject({ status: 412 })
    const both = await Promise.allSettled(['write:a', 'write:b'].map((action) => registry.put(policy('stored', action), 1)))
    expect(both.map(({ status }) => status)).toEqual(['fulfilled', 'rejected'])
    expect(inForce(registry)).toEqual(['stored write:a'])
  })

  it('are not changed by a bad document, by too many rules, or by a store that fails', async () => {
    const { registry, store, fault } = await openWorld(
      undefined,
      Array.from({ length: 9 }, (_, i) => many(`m${i}`, 10_000)),
    )
    const before = registry.current()
    await expect(registry.put({ name: 'bad', rules: [] })).rejects.toBeInstanceOf(ValidationError)
    await registry.put(many('m9', 9_999))
    await expect(registry.put(many('last', 2))).rejects.toThrow('at most 100000 rules')
    fault.put = async () => {
      throw new Error('The disk is full')
    }
    await expect(registry.put(many('m8', 1))).rejects.toThrow('The disk is full')
    expect(registry.current().policies.map(({ name }) => name)).toEqual([...before.policies.map(({ name }) => name), 'm9'])
    expect((await store.policies.list()).map(({ name }) => name)).toHaveLength(10)
  })
})

describe('the folder', () => {
  it('that goes bad leaves the last good set in force, is reported, and recovers', async () => {
    const { registry, write } = await openWorld({ 'one.yaml': yaml('filed') }, [policy('stored')])
    const before = registry.current()
    await write('one.yaml', 'name: filed\nrules: none\n')
    await expect.poll(() => registry.problem(), { timeout: 10_000 }).toMatch(/one\.yaml:2/)
    expect(registry.current()).toBe(before)
    await registry.put(policy('stored', 'write:*'))
    expect(inForce(registry)).toEqual(['filed read:*', 'stored write:*'])
    expect(registry.problem()).toMatch(/one\.yaml:2/)
    await write('one.yaml', yaml('filed', 'delete:*'))
    await expect.poll(() => registry.problem(), { timeout: 10_000 }).toBeUndefined()
    expect(inForce(registry)).toEqual(['filed delete:*', 'stored write:*'])
  })

  it('that would make the set too large with what the API holds is a problem, and the last good set stays', async () => {
    const stored = Array.from({ length: 10 }, (_, i) => many(`m${i}`, i === 9 ? 9_999 : 10_000))
    const { registry, write } = await openWorld({ 'one.yaml': yaml('filed') }, stored)
    const before = registry.current()
    await write('two.yaml', yaml('more'))
    await expect.poll(() => registry.problem(), { timeout: 10_000 }).toMatch('at most 100000 rules')
    expect(registry.current()).toBe(before)
    await registry.delete('m0')
    expect(registry.problem()).toBeUndefined()
    expect(registry.current().policies.map(({ name }) => name)).toContain('more')
  })

  it('that is bad at the start stops it, with the place', async () => {
    await expect(openWorld({ 'one.yaml': 'name: filed\nrulez: []\n' })).rejects.toThrow(/one\.yaml:2:1/)
    await expect(openWorld({})).rejects.toBeInstanceOf(ValidationError)
  })
})

describe('a policy in the database', () => {
  it('that no longer parses stops the start, and names it', async () => {
    const bad = { name: 'old', rules: [{ effect: 'perhaps', actions: ['read:*'] }] } as unknown as PolicyDocument
    await expect(openWorld({ 'one.yaml': yaml('filed') }, [bad])).rejects.toThrow(/the policy "old" in the database/)
  })

  it('stops the start where it makes the set too large', async () => {
    const stored = Array.from({ length: 11 }, (_, i) => many(`m${i}`, 10_000))
    await expect(openWorld(undefined, stored)).rejects.toThrow('at most 100000 rules')
  })
})
