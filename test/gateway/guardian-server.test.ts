/** A guardian as a server: what it counts, bounds and closes. */
import { type AuditEvent, type Explanation, fromBundle, type Guard } from '@meshguard/core'
import { createGuardian } from '@meshguard/gateway/guardian'
import pino from 'pino'
import { expect, it, onTestFinished } from 'vitest'
import { TokenOwners } from '../../packages/gateway/src/guardian/token-owners.js'

/** A guardian without a bundle, which is enough to be asked. */
async function start() {
  const load = () => {
    throw new Error('There is none')
  }
  const closed: string[] = []
  const source = fromBundle({ load, jwks: { keys: [KEY] }, onError: () => undefined })
  const close = async () => {
    closed.push('source')
    await source.close()
  }
  const events: AuditEvent[] = []
  const audit = {
    dropped: { allowed: 1, denied: 2, outcomes: 0 },
    record: (event: AuditEvent) => void events.push(event),
    close: async () => void closed.push('audit'),
  }
  const parts = { bundle: undefined, close }
  const guardian = createGuardian({ source: { ...source, ...parts }, audit, logger: pino({ level: 'silent' }) })
  onTestFinished(() => guardian.close())
  const { url } = await guardian.listen(0, '127.0.0.1')
  return { guardian, url, closed, events }
}

const KEY = { kty: 'OKP', crv: 'Ed25519', x: '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo' }

it('/health tells what the sink has lost', async () => {
  const { url } = await start()
  const health = await fetch(`${url}/health`)
  expect([health.status, await health.json()]).toEqual([
    503,
    expect.objectContaining({ status: 'degraded', auditDropped: { allowed: 1, denied: 2, outcomes: 0 } }),
  ])
})

it('closes the source before the sink, so that everything decided is recorded, and both once', async () => {
  const { guardian, closed, url } = await start()
  await Promise.all([guardian.close(), guardian.close()])
  expect(closed).toEqual(['source', 'audit'])
  await expect(fetch(`${url}/health`)).rejects.toThrow()
})

it('tells the 601st bad token of a minute to wait', async () => {
  const { url } = await start()
  const ask = () => fetch(`${url}/enforce`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: QUESTION })
  const statuses: number[] = []
  for (let i = 0; i < 620; i += 20) {
    const answers = await Promise.all(Array.from({ length: 20 }, ask))
    for (const answer of answers) {
      statuses.push(answer.status)
      await answer.arrayBuffer()
    }
  }
  expect(statuses.filter((status) => status === 401)).toHaveLength(600)
  const late = await ask()
  expect([late.status, late.headers.get('retry-after')]).toEqual([429, expect.stringMatching(/^\d+$/)])
})

const QUESTION = JSON.stringify({ action: 'read:x' })

it('remembers the owners of a thousand tokens, and no more', async () => {
  const asked: string[] = []
  const explain: Guard['explain'] = async (_action, given) => {
    asked.push(given?.token as string)
    return { agentId: `agent-${given?.token}` } as Explanation
  }
  const owners = new TokenOwners({ explain } as Guard)
  for (let i = 0; i < 1000; i++) expect(await owners.ownerOf(`${i}`)).toBe(`agent-${i}`)
  await owners.ownerOf('0')
  expect(asked).toHaveLength(1000)
  await owners.ownerOf('1000')
  await owners.ownerOf('0')
  expect(asked).toHaveLength(1002)
})
