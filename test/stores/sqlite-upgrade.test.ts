import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import Database from 'libsql'
import { describe, expect, it } from 'vitest'
import { append, checkpoint, row } from '../contracts/store/spec.js'
import { folder, open } from './sqlite.js'

const FIXTURES = join(import.meta.dirname, 'fixtures')

/** One dump for every schema that was ever released, with the same data in all of them. */
const dumps = (await readdir(FIXTURES)).filter((name) => name.endsWith('.sql'))

describe.each(dumps)('a database of %s', (name) => {
  it('opens with everything that was in it, and goes on', async () => {
    const path = join(await folder(), 'meshguard.db')
    const db = new Database(path)
    db.exec(await readFile(join(FIXTURES, name), 'utf8'))
    db.close()
    for (const _start of ['first', 'second']) {
      const store = await open(`sqlite:${path}`)
      const { items } = await store.agents.list({ tag: 'production' })
      expect(items).toEqual([
        {
          id: 'agent_1',
          name: "Ünï 'quoted'",
          trustTier: 'trusted',
          tags: ['production', 'sales'],
          metadata: { team: { size: 3 } },
          status: 'active',
          generation: 2,
          createdAt: 1_760_000_000_000,
          updatedAt: 1_760_000_001_000,
          lastSeenAt: 1_760_000_002_000,
        },
      ])
      expect((await store.agents.get('agent_2'))?.revokedAt).toBe(1_760_000_003_000)
      const changed = await store.agents.changedSince(1_760_000_001_000, { limit: 10 })
      expect(changed.items.map(({ id }) => id)).toEqual(['agent_1', 'agent_2'])
      expect((await store.policies.list()).map(({ name, revision }) => [name, revision])).toEqual([['contacts', 2]])
      expect((await store.policies.get('contacts'))?.document.rules).toEqual([{ effect: 'allow', actions: ['read:*'] }])
      expect(await store.tokens.findByHash('ab'.repeat(32))).toMatchObject({ scopes: ['decide'], expiresAt: 1_790_000_000_000 })
      expect(await store.delegations.get('d2')).toMatchObject({ parent: 'd1', depth: 2, revokedAt: 1_760_000_004_000 })
      expect(await store.settings.get('setting')).toBe('value')
      expect(await store.audit.cut('gateway')).toEqual(checkpoint(1))
      expect(await store.audit.checkpoint('gateway')).toEqual(checkpoint(3))
      expect(await store.audit.scan('gateway', 0, 10)).toEqual([row(2, { agentId: 'agent_1', policy: 'contacts' }), row(3)])
      const bucket = { key: 'limit', requests: 1, windowMs: 86_400_000 }
      expect((await store.limiter.take([bucket], 1_760_000_000_001)).ok).toBe(false)
      await store.close()
    }
    const store = await open(`sqlite:${path}`)
    await append(store, [row(4)])
    expect((await store.audit.query({ limit: 1 })).items).toEqual([row(4)])
  })
})

/** What a database is made of, and the version it says it is of. */
function schemaOf(path: string): { readonly schema: unknown[]; readonly version: unknown } {
  const db = new Database(path)
  const schema = db.prepare(`select type, name, sql from sqlite_master where name not like 'sqlite_%' order by name`).all()
  const version = db.prepare('select version from schema_version').all()
  db.close()
  return { schema, version }
}

it.each(dumps)('a database of %s is made into what a new one is', async (name) => {
  const home = await folder()
  const [old, made] = [join(home, 'old.db'), join(home, 'made.db')]
  const db = new Database(old)
  db.exec(await readFile(join(FIXTURES, name), 'utf8'))
  db.close()
  for (const path of [old, made]) await (await open(`sqlite:${path}`)).close()
  expect(schemaOf(old)).toEqual(schemaOf(made))
})

it('there is a dump of every schema', async () => {
  const path = join(await folder(), 'meshguard.db')
  await (await open(`sqlite:${path}`)).close()
  const [{ version }] = schemaOf(path).version as [{ version: number }]
  expect(dumps).toEqual(Array.from({ length: version }, (_, i) => `schema-${i + 1}.sql`))
})
