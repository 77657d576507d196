import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type PostgresServer, usePostgres } from '../postgres/server.js'
import { open } from './postgres.js'
import { holdsEverything } from './upgraded.js'

const FIXTURES = join(import.meta.dirname, 'fixtures/postgres')

/** One dump for every schema that was ever released: `pg_dump --inserts` without its comments and settings. */
const dumps = await readdir(FIXTURES)

let server: PostgresServer
beforeAll(async () => {
  server = await usePostgres()
})
afterAll(() => server.close())

async function restored(name: string): Promise<string> {
  const url = await server.createDatabase()
  await server.query(await readFile(join(FIXTURES, name), 'utf8'), url)
  return url
}

/** What a database is made of; the months of the audit log come with the calendar. */
async function schemaOf(url: string): Promise<unknown[]> {
  const { rows } = await server.query(
    `select 'column' as kind, table_name || '.' || column_name as name, data_type || is_nullable || coalesce(collation_name, '') as what
      from information_schema.columns where table_schema = 'public'
     union all select 'index', indexname, indexdef from pg_indexes where schemaname = 'public'
     union all select 'function', proname, prosrc from pg_proc where pronamespace = 'public'::regnamespace
     union all select 'trigger', tgname || ' on ' || tgrelid::regclass, pg_get_triggerdef(oid) from pg_trigger where not tgisinternal
     union all select 'constraint', conrelid::regclass || '.' || conname, pg_get_constraintdef(oid) from pg_constraint
      where connamespace = 'public'::regnamespace and contype <> 'n'
     union all select 'version', version::text, '' from schema_version
     order by 1, 2`,
    url,
  )
  return rows.filter(({ name }) => !/audit_\d{4}_\d{2}/.test(name))
}

describe.each(dumps)('a PostgreSQL database of %s', (name) => {
  it('opens with everything that was in it, and goes on', async () => {
    const url = await restored(name)
    await holdsEverything(() => open(url))
  })

  it('is made into what a new one is', async () => {
    const [old, made] = [await restored(name), await server.createDatabase()]
    for (const url of [old, made]) await (await open(url)).close()
    expect(await schemaOf(old)).toEqual(await schemaOf(made))
  })
})

it('there is a dump of every schema', async () => {
  const url = await server.createDatabase()
  await (await open(url)).close()
  const [{ version }] = (await server.query('select version from schema_version', url)).rows
  expect(dumps.sort()).toEqual(Array.from({ length: version }, (_, i) => `schema-${i + 1}.sql`))
})
