/** Networks that fail, with real sockets: whatever happens on the way, nothing is allowed that the gateway did not sign. */
import type { ServerResponse } from 'node:http'
import type { DecisionRequest } from '@meshguard/core'
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { randomFrom, startNetwork } from '../faults/network.js'
import { ALLOW_READING, type Fault, type Publisher, startPublisher } from './publisher.js'
import { sourcesOf } from './sources.js'

const agent = { id: 'agent_nova', trustTier: 'verified' }
const question: DecisionRequest = { action: 'read:contacts', agent, traceId: 'trace-0001' }
const SEED = 20260105
const ROUNDS = Number(process.env['MESHGUARD_ROUNDS'] ?? 120)

let publisher: Publisher
const { start, errors, close } = sourcesOf(() => publisher, { timeoutMs: 300 })

beforeEach(async () => {
  publisher = await startPublisher()
})
afterEach(async () => {
  await close()
  await publisher.close()
})

const until = (holds: () => unknown) => vi.waitFor(() => expect(holds()).toBeTruthy(), { timeout: 8000, interval: 10 })

/** Says that the whole bundle is coming, and sends a part of it. */
const begin = (response: ServerResponse, jws: string, part: number): void => {
  response.writeHead(200, { etag: '"fault"', 'content-type': 'application/jose', 'content-length': jws.length })
  response.write(jws.slice(0, part))
}
const faults: readonly (readonly [string, Fault])[] = [
  ['no answer', () => undefined],
  ['a connection that breaks before an answer', (_, response) => response.destroy()],
  ['headers and no body', (_, response, jws) => begin(response, jws, 0)],
  [
    'a body that is cut off',
    (_, response, jws) => {
      begin(response, jws, jws.length - 10)
      setTimeout(() => response.destroy(), 20)
    },
  ],
  [
    'a body that is said to be shorter',
    (_, response, jws) => response.writeHead(200, { 'content-length': 100 }).end(jws.slice(0, 100)),
  ],
  [
    'a body that trickles for too long',
    (_, response, jws) => {
      begin(response, jws, 0)
      let sent = 0
      const timer = setInterval(() => response.write(jws[sent++] ?? ''), 10)
      response.on('close', () => clearInterval(timer))
    },
  ],
  ['a body that comes twice', (_, response, jws) => response.end(jws + jws)],
  ['a body with something before it', (_, response, jws) => response.end(` ${jws}`)],
  ['an empty 200', (_, response) => response.end()],
  ['an empty 304 to a question without an ETag', (_, response) => response.writeHead(304).end()],
  ['a 304 for ever', (_, response) => response.writeHead(304).end()],
  ['HTML', (_, response) => response.end('<!doctype html><p>Please log in')],
  ['a redirect', (_, response) => response.writeHead(302, { location: '/jwks' }).end()],
  ['a 502', (_, response) => response.writeHead(502).end()],
  ['a 503', (_, response) => response.writeHead(503).end()],
  ['a 504', (_, response) => response.writeHead(504).end()],
  [
    'a body without end',
    (_, response) => {
      const chunk = 'A'.repeat(1 << 20)
      const more = (): void => {
        while (!response.destroyed && response.write(chunk));
        response.once('drain', more)
      }
      more()
    },
  ],
]

describe('A gateway that answers with', () => {
  it.each(faults)('%s: nothing is allowed without a bundle, and the last good one stays', async (_, fault) => {
    await publisher.publish({ agents: { agent_gone: { revoked: true } } })
    publisher.fail(fault)
    const source = start()
    const first = await Promise.resolve(source.decide(question)).catch((error: Error) => error)
    expect(first).not.toMatchObject({ allowed: true })
    publisher.fail()
    await source.refresh()
    publisher.fail(fault)
    await publisher.publish({ policies: [] })
    await source.refresh().catch(() => undefined)
    expect(source.decide(question)).toMatchObject({ allowed: true })
    expect(source.decide({ ...question, agent: { ...agent, id: 'agent_gone' } })).toMatchObject({ code: 'unauthenticated' })
    publisher.fail()
    await source.refresh()
    expect(source.decide(question)).toMatchObject({ allowed: false, code: 'no_match' })
    expect(errors.length).toBeGreaterThan(0)
  })
})

it('A bundle without end is given up at 32 MiB', async () => {
  publisher.fail(faults.find(([name]) => name === 'a body without end')?.[1])
  await expect(start({ timeoutMs: 15_000 }).refresh()).rejects.toThrow('The bundle is larger than 32 MiB')
})

describe('A network between', () => {
  it('that goes away and comes back leaves decisions as they were, and then up to date', async () => {
    await publisher.publish()
    const source = start({ pollMs: 30, stream: true })
    await source.refresh()
    await publisher.close()
    await until(() => errors.length > 0)
    for (let i = 0; i < 20; i++) {
      expect(source.decide(question)).toMatchObject({ allowed: true })
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
    await publisher.reopen()
    await publisher.publish({ agents: { [agent.id]: { revoked: true } } })
    await until(() => source.bundle?.version === 2)
    expect(source.decide(question)).toMatchObject({ code: 'unauthenticated' })
  })

  it(`that delays, cuts, trickles and repeats at random never makes a version go back (seed ${SEED}, ${ROUNDS} rounds)`, async () => {
    const random = randomFrom(SEED)
    const network = await startNetwork(publisher.url, random)
    onTestFinished(() => network.close())
    const source = start({ url: network.url, pollMs: 5, timeoutMs: 150 })
    let published = 0
    let seen = 0
    /** Which versions allow: what was in force when a decision was made must be one that was signed. */
    const allows = new Map<number, boolean>()
    for (let round = 0; round < ROUNDS; round++) {
      if (round % 8 === 0) {
        const allowing = random() < 0.5
        await publisher.publish({ policies: allowing ? ALLOW_READING : [] })
        allows.set(++published, allowing)
      }
      const answer = await Promise.resolve(source.decide(question)).catch(() => ({ allowed: false }))
      const version = source.bundle?.version ?? 0
      expect(version).toBeGreaterThanOrEqual(seen)
      if (answer.allowed) expect([...allows].slice(Math.max(0, seen - 1), version).some(([, one]) => one)).toBe(true)
      seen = version
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
    network.calm()
    await until(() => source.bundle?.version === published)
    expect(source.decide(question)).toMatchObject({ allowed: allows.get(published) })
    expect(errors.length, 'the network failed').toBeGreaterThan(0)
  }, 20_000)
})
