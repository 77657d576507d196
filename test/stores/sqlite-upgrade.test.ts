import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import Database from 'libsql'
import { describe, expect, it } from 'vitest'
import { folder, open } from './sqlite.js'
import { holdsEverything } from './upgraded.js'

const FIXTURES = join(import.meta.dirname, 'fixtures')

/** One dump for every schema that was ever released, with the same data in all of them. */
const dumps = (await readdir(FIXTURES)).filter((name) => name.endsWith('.sql'))

describe.each(dumps)('a database of %s', (name) => {
  it('opens with everything that was in it, and goes on', async () => {
    const path = join(await folder(), 'meshguard.db')
    const db = new Database(path)
    db.exec(await readFile(join(FIXTURES, name), 'utf8'))
    db.close()
    await holdsEverything(() => open(`sqlite:${path}`))
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
