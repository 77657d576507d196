import fc from 'fast-check'
import Database from 'libsql'
import { afterEach, describe, expect, it } from 'vitest'
import { allowed, closeWorlds, openAuditWorld, START, type World } from './audit-world.js'

afterEach(closeWorlds)

const DAY_MS = 86_400_000

/** Does to the database what somebody who can write to it could do, past the gateway. */
function tamper({ databasePath }: World, ...statements: string[]): void {
  const database = new Database(databasePath)
  for (const statement of statements) database.exec(statement)
  database.close()
}

async function openFilled(count = 10): Promise<World> {
  const world = await openAuditWorld()
  for (let i = 1; i <= count; i++) {
    world.clock.now += 1000
    await world.audit.append(allowed(`trace-${i}`, { id: `entry-${i}`, metadata: { amount: i } }))
  }
  return world
}

const COLUMNS: readonly (readonly [column: string, value: string])[] = [
  ['id', `'entry-x'`],
  ['timestamp', 'timestamp - 1'],
  ['trace_id', `'trace-x'`],
  ['agent_id', 'null'],
  ['agent_id', `'agent_2'`],
  ['action', `'read:other'`],
  ['decision', `'deny'`],
  ['code', `'denied'`],
  ['policy', 'null'],
  ['policy', `'writers'`],
]

describe('verification of the audit log', () => {
  it('finds a whole log valid, an empty one too', async () => {
    const world = await openAuditWorld()
    expect(await world.audit.verify()).toEqual({ valid: true, entries: 0 })
    for (let i = 0; i < 600; i++) void world.audit.append(allowed(`trace-${i}`))
    await world.audit.append(allowed('trace-last'))
    const progress: number[] = []
    expect(await world.audit.verify((entries) => progress.push(entries))).toEqual({ valid: true, entries: 601 })
    expect(progress).toEqual([256, 512, 601])
  })

  it.each(COLUMNS)('names the entry whose column %s says %s', async (column, value) => {
    const world = await openFilled()
    tamper(world, `update audit set ${column} = ${value} where sequence = 4`)
    const { valid, entries, firstBad } = await world.audit.verify()
    expect({ valid, entries, id: firstBad?.id }).toEqual({
      valid: false,
      entries: 3,
      id: column === 'id' ? 'entry-x' : 'entry-4',
    })
    expect(firstBad?.reason).toMatch(/^its column ".+" does not say what the entry says$/)
  })

  it.each([
    [
      'edited',
      `update audit set entry = replace(entry, '"amount":4', '"amount":5') where sequence = 4`,
      'entry-4',
      /was changed/,
    ],
    ['torn', `update audit set entry = substr(entry, 1, 40) where sequence = 4`, 'entry-4', /was changed/],
    ['emptied', `update audit set entry = '' where sequence = 4`, 'entry-4', /was changed/],
    ['hashed anew', `update audit set hash = '${'0'.repeat(64)}' where sequence = 4`, 'entry-4', /was changed/],
    ['removed', 'delete from audit where sequence = 4', 'entry-5', /the entries 4 to 4 before it are missing/],
    [
      'removed with others',
      'delete from audit where sequence between 4 and 7',
      'entry-8',
      /the entries 4 to 7 before it are missing/,
    ],
    [
      'the first that was removed',
      'delete from audit where sequence = 1',
      'entry-2',
      /the entries 1 to 1 before it are missing/,
    ],
    [
      'the last that was cut off',
      'delete from audit where sequence = 10',
      'gateway#9',
      /the entries 10 to 10 at the end are missing/,
    ],
    ['all that were cut off', 'delete from audit', 'gateway#0', /the entries 1 to 10 at the end are missing/],
    ['moved', 'update audit set sequence = 40 where sequence = 4', 'entry-5', /the entries 4 to 4 before it are missing/],
    ['moved to the front', 'update audit set sequence = -3 where sequence = 4', 'entry-5', /missing/],
  ])('names an entry that was %s', async (_how, statement, id, reason) => {
    const world = await openFilled()
    tamper(world, statement)
    const { valid, firstBad } = await world.audit.verify()
    expect({ valid, id: firstBad?.id, reason: firstBad?.reason }).toEqual({
      valid: false,
      id,
      reason: expect.stringMatching(reason),
    })
  })

  it('names entries that changed places', async () => {
    const world = await openFilled()
    tamper(world, 'update audit set sequence = -4 where sequence = 4', 'update audit set sequence = 4 where sequence = 5')
    tamper(world, 'update audit set sequence = 5 where sequence = -4')
    expect((await world.audit.verify()).firstBad?.id).toBe('entry-5')
  })

  it.each([
    ['is missing', 'delete from checkpoints', /checkpoint of the last entry is missing/],
    ['says another hash', `update checkpoints set hash = '${'1'.repeat(64)}'`, /not signed by this gateway/],
    ['says an earlier end', 'update checkpoints set sequence = 9', /not signed by this gateway/],
    ['is not signed by the gateway', `update checkpoints set signature = 'a.b.c'`, /not signed by this gateway/],
  ])('notices that the checkpoint %s', async (_what, statement, reason) => {
    const world = await openFilled()
    tamper(world, statement)
    expect(await world.audit.verify()).toMatchObject({ valid: false, firstBad: { reason: expect.stringMatching(reason) } })
  })

  it('notices entries that somebody added with hashes that fit', async () => {
    const { hashOf } = await import('../../packages/gateway/src/audit/chain.js')
    const world = await openFilled()
    const [last] = await world.store.audit.scan('gateway', 9, 1)
    const entry = (last?.entry ?? '').replaceAll('entry-10', 'entry-11')
    const columns = 'writer, id, timestamp, trace_id, agent_id, action, decision, code, policy'
    const forged = columns.replace('id,', `'entry-11',`)
    const insert = `insert into audit (${columns}, sequence, entry, hash)
      select ${forged}, 11, '${entry}', '${hashOf(last?.hash ?? '', entry)}' from audit where sequence = 10`
    tamper(world, insert)
    expect(await world.audit.verify()).toMatchObject({ valid: false, firstBad: { reason: /covered by no checkpoint/ } })
    await world.reopen()
    await world.audit.append(allowed('trace-later', { id: 'entry-12' }))
    expect(await world.audit.verify()).toMatchObject({ valid: false, firstBad: { id: 'entry-12' } })
  })

  it.each([
    ['the end was cut off', 'delete from audit where sequence > 7'],
    ['everything was cut off', 'delete from audit'],
    ['the last entry was changed', `update audit set hash = '${'2'.repeat(64)}' where sequence = 10`],
    ['the end and its checkpoint were removed', 'delete from audit where sequence > 7', 'delete from checkpoints'],
    [
      'the checkpoint was forged',
      `update checkpoints set sequence = 7, signature = 'a.b.c'`,
      'delete from audit where sequence > 7',
    ],
  ])(
    'is not made valid by what is recorded after %s, whether the gateway ran or was started again',
    async (_what, ...statements) => {
      for (const isRestarted of [false, true]) {
        const world = await openFilled()
        tamper(world, ...statements)
        if (isRestarted) await world.reopen()
        for (const id of ['a', 'b']) await world.audit.append(allowed(`trace-${id}`)).catch(() => undefined)
        await world.audit.append(allowed('trace-c'))
        expect((await world.audit.verify()).valid).toBe(false)
        if (isRestarted)
          expect(world.logged.map(({ msg }) => msg)).toContain('the audit log does not end where it was signed: verify it')
      }
    },
  )

  it('walks the chains of all writers, and names a forged one', async () => {
    const world = await openFilled(3)
    const shipped = { ...allowed('trace-s'), timestamp: new Date(START).toISOString() }
    await world.audit.ship('svc_1', ['s1', 's2', 's3'].map((id) => ({ ...shipped, id })) as never)
    expect(await world.audit.verify()).toEqual({ valid: true, entries: 6 })
    tamper(world, `update audit set writer = 'svc_2' where id = 's3'`)
    expect((await world.audit.verify()).valid).toBe(false)
    tamper(world, `update audit set writer = 'svc_1' where id = 's3'`)
    expect((await world.audit.verify()).valid).toBe(true)
    tamper(world, `update audit set writer = 'svc_2' where writer = 'svc_1'`)
    tamper(world, `update checkpoints set writer = 'svc_2' where writer = 'svc_1'`)
    expect(await world.audit.verify()).toMatchObject({ valid: false, firstBad: { id: 'svc_2#3' } })
    tamper(world, `delete from checkpoints where writer = 'svc_2'`)
    expect(await world.audit.verify()).toMatchObject({ valid: false, firstBad: { reason: /checkpoint/ } })
  })

  it('finds any change of any stored byte, by whatever statement', async () => {
    const column = fc.constantFrom(
      'id',
      'timestamp',
      'trace_id',
      'agent_id',
      'action',
      'decision',
      'code',
      'policy',
      'entry',
      'hash',
      'sequence',
    )
    const value = fc.oneof(
      fc.string({ maxLength: 20 }).map((text) => `'${text.replaceAll("'", "''").replaceAll('\0', '')}'`),
      fc.integer().map(String),
      fc.constant('null'),
    )
    const change = fc.oneof(
      fc
        .tuple(column, value, fc.integer({ min: 1, max: 10 }))
        .map(([name, to, at]) => `update or ignore audit set ${name} = ${to} where sequence = ${at}`),
      fc
        .tuple(fc.integer({ min: 1, max: 10 }), fc.integer({ min: 0, max: 300 }), fc.constantFrom('x', '0', ''))
        .map(
          ([at, place, to]) =>
            `update audit set entry = substr(entry, 1, ${place}) || '${to}' || substr(entry, ${place + 2}) where sequence = ${at}`,
        ),
      fc
        .tuple(fc.integer({ min: 1, max: 10 }), fc.integer({ min: 0, max: 5 }))
        .map(([from, more]) => `delete from audit where sequence between ${from} and ${from + more}`),
    )
    const world = await openFilled()
    const rows = () => JSON.stringify(new Database(world.databasePath).prepare('select * from audit order by position').all())
    const whole = rows()
    tamper(world, 'create table kept as select * from audit')
    let changed = 0
    await fc.assert(
      fc.asyncProperty(change, async (statement) => {
        try {
          tamper(world, statement)
        } catch (error) {
          expect(String(error)).toMatch(/NOT NULL/)
        }
        const isChanged = rows() !== whole
        if (isChanged) changed++
        expect((await world.audit.verify()).valid, statement).toBe(!isChanged)
        tamper(world, 'delete from audit', 'insert into audit select * from kept')
      }),
      { numRuns: Number(process.env['MESHGUARD_RUNS'] ?? 150) },
    )
    expect(changed).toBeGreaterThan(50)
  })

  it('lets the event loop go on, and takes no notice of what is recorded meanwhile', async () => {
    const world = await openAuditWorld()
    await Promise.all(Array.from({ length: 3000 }, (_, i) => world.audit.append(allowed(`trace-${i}`))))
    let turns = 0
    const turn = setInterval(() => turns++, 0)
    let isDone = false
    const verified = world.audit.verify().finally(() => {
      isDone = true
    })
    for (let i = 0; !isDone; i++) await world.audit.append(allowed(`trace-more-${i}`))
    clearInterval(turn)
    const { valid, entries } = await verified
    expect(valid).toBe(true)
    expect(entries).toBeGreaterThanOrEqual(3000)
    expect(turns).toBeGreaterThan(5)
  })
})

describe('retention', () => {
  const fill = async (world: World, days: number) => {
    for (let day = 0; day < days; day++) {
      await world.audit.append(allowed(`trace-${day}`, { id: `day-${day}` }))
      world.clock.now += DAY_MS
    }
  }

  it('deletes what is older, and what is left can still be verified and continued', async () => {
    const world = await openAuditWorld({ auditRetentionDays: 3 })
    await fill(world, 10)
    expect(await world.audit.applyRetention()).toBe(7)
    expect(await world.audit.applyRetention()).toBe(0)
    expect((await world.audit.query({})).items.map(({ id }) => id)).toEqual(['day-9', 'day-8', 'day-7'])
    expect(await world.audit.verify()).toEqual({ valid: true, entries: 3 })
    await world.reopen()
    await fill(world, 1).catch(() => undefined)
    await world.audit.append(allowed('trace-later'))
    expect((await world.audit.verify()).valid).toBe(true)
  })

  it('may delete everything: the chain goes on behind what is gone', async () => {
    const world = await openAuditWorld({ auditRetentionDays: 1 })
    await fill(world, 3)
    world.clock.now += 10 * DAY_MS
    expect(await world.audit.applyRetention()).toBe(3)
    expect(await world.audit.verify()).toEqual({ valid: true, entries: 0 })
    await world.reopen()
    await world.audit.append(allowed('trace-later'))
    const [row] = await world.store.audit.scan('gateway', 0, 1)
    expect(row?.sequence).toBe(4)
    expect(await world.audit.verify()).toEqual({ valid: true, entries: 1 })
  })

  it('is applied when the log is opened', async () => {
    const world = await openAuditWorld({ auditRetentionDays: 3 })
    await fill(world, 10)
    await world.reopen()
    await expect.poll(() => world.store.audit.scan('gateway', 0, 10)).toHaveLength(3)
  })

  it('goes by when a shipped entry was received, whatever its own time says', async () => {
    const world = await openAuditWorld({ auditRetentionDays: 3 })
    const shipped = (id: string, timestamp: number) => ({
      ...allowed(`trace-${id}`),
      id,
      timestamp: new Date(timestamp).toISOString(),
    })
    await world.audit.ship('svc_1', [shipped('ahead', START + 240_000), shipped('past', 0)] as never)
    expect(await world.audit.applyRetention()).toBe(0)
    world.clock.now += 4 * DAY_MS
    expect(await world.audit.applyRetention()).toBe(2)
  })

  it.each([
    ['torn behind its age', `substr(entry, 1, instr(entry, '"receivedAt"') + 20)`],
    ['torn before its age', 'substr(entry, 1, 40)'],
    ['with an age that is none', `replace(entry, '"receivedAt":"2026', '"receivedAt":"x')`],
  ])('keeps an entry that is %s until one behind it is old enough, says so, and goes on elsewhere', async (_what, torn) => {
    const world = await openAuditWorld({ auditRetentionDays: 3 })
    const ship = (id: string) => {
      const entry = { ...allowed(`trace-${id}`), id: `shipped-${id}`, timestamp: new Date(0).toISOString() }
      return world.audit.ship('svc_1', [entry] as never)
    }
    await ship('1')
    world.clock.now += DAY_MS
    await ship('2')
    world.clock.now += DAY_MS
    await ship('3')
    await fill(world, 1)
    tamper(world, `update audit set entry = ${torn} where writer = 'svc_1' and sequence = 2`)
    world.clock.now += 1.5 * DAY_MS
    const left = async () => (await world.store.audit.scan('svc_1', 0, 10)).map(({ id }) => id)
    expect(await world.audit.applyRetention()).toBe(1)
    expect(await left()).toEqual(['shipped-2', 'shipped-3'])
    expect(world.logged.at(-1)).toMatchObject({ msg: expect.stringMatching(/verify/), writer: 'svc_1', id: 'shipped-2' })
    world.clock.now += DAY_MS
    expect(await world.audit.applyRetention()).toBe(3)
    expect(await left()).toEqual([])
  })

  it('passes over a thousand entries that cannot be read to one that is old enough', async () => {
    const world = await openAuditWorld({ auditRetentionDays: 3 })
    await Promise.all(Array.from({ length: 1100 }, (_, i) => world.audit.append(allowed(`trace-${i}`))))
    await world.audit.append(allowed('trace-last'))
    tamper(world, `update audit set entry = '{' where sequence <= 1100`)
    world.clock.now += 4 * DAY_MS
    expect(await world.audit.applyRetention()).toBe(1101)
  })

  it.each([
    ['of more than was signed', 'delete from audit where sequence <= 8'],
    ['that moved', 'delete from audit where sequence <= 8', `update cuts set sequence = 8`],
    ['that is not signed', `update cuts set signature = 'a.b.c'`],
    ['that is forgotten', 'delete from cuts'],
    ['that is a checkpoint of the end', 'delete from audit', 'delete from cuts', 'insert into cuts select * from checkpoints'],
  ])('leaves no room for a cut %s', async (_what, ...statements) => {
    const world = await openAuditWorld({ auditRetentionDays: 3 })
    await fill(world, 10)
    await world.audit.applyRetention()
    tamper(world, ...statements)
    expect((await world.audit.verify()).valid).toBe(false)
  })

  it('does not disturb a verification that runs', async () => {
    const world = await openAuditWorld({ auditRetentionDays: 1 })
    await Promise.all(Array.from({ length: 1500 }, (_, i) => world.audit.append(allowed(`trace-${i}`))))
    world.clock.now += 5 * DAY_MS
    await Promise.all(Array.from({ length: 500 }, (_, i) => world.audit.append(allowed(`trace-new-${i}`))))
    let cut: Promise<number> | undefined
    const verified = world.audit.verify((entries) => {
      if (entries > 300) cut ??= world.audit.applyRetention()
    })
    expect((await verified).valid).toBe(true)
    expect(await cut).toBe(1500)
  })
})
