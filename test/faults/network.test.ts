/** The network that fails does what it says: what the other tests of this folder prove rests on that. */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { type FaultName, faultNames, type Network, startNetwork } from './network.js'

const REQUEST = '?'.repeat(10)
const ANSWER = '!'.repeat(1000)

/** Answers each piece that arrives with as many answers as it holds requests. */
let server: Server
let target: string
let arrived = ''
let network: Network
const clients = new Set<Socket>()

beforeEach(async () => {
  arrived = ''
  server = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.on('data', (data) => {
      arrived += data
      socket.write(ANSWER.repeat(data.length / REQUEST.length))
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  target = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
afterEach(async () => {
  for (const client of clients) client.destroy()
  await network.close()
  server.close()
})

const start = async (fault: FaultName, random = () => 0.5) => {
  network = await startNetwork(target, random, { share: 1, faults: [fault] })
}

/** Sends a request; `pieces` are what comes back, and `end` is why no more does. */
function ask(url: string) {
  const client = connect(Number(new URL(url).port), '127.0.0.1', () => client.write(REQUEST))
  clients.add(client)
  const pieces: string[] = []
  let end: string | undefined
  client.on('data', (data) => pieces.push(String(data)))
  client.on('error', (error: NodeJS.ErrnoException) => {
    end = error.code
  })
  client.on('close', () => {
    end ??= 'closed'
  })
  return { pieces, text: () => pieces.join(''), end: () => end }
}

it('refuses', async () => {
  await start('refuse')
  const { text, end } = ask(network.url)
  await expect.poll(end).toBeDefined()
  expect([text(), arrived]).toEqual(['', ''])
})

it('resets when the answer comes', async () => {
  await start('reset')
  const { text, end } = ask(network.url)
  await expect.poll(end).toBe('ECONNRESET')
  expect([text(), arrived]).toEqual(['', REQUEST])
})

it('cuts the answer', async () => {
  await start('cut')
  const { text, end } = ask(network.url)
  await expect.poll(end).toBe('closed')
  expect(text()).toBe(ANSWER.slice(0, ANSWER.length / 2))
})

it('trickles', async () => {
  await start('trickle')
  const { text, pieces } = ask(network.url)
  await expect.poll(text).toBe(ANSWER)
  expect(pieces.length).toBeGreaterThan(1)
})

it('gives an answer twice', async () => {
  await start('duplicate')
  const { text } = ask(network.url)
  await expect.poll(text).toBe(ANSWER + ANSWER)
  expect(arrived).toBe(REQUEST)
})

it('asks twice', async () => {
  await start('repeat')
  const { text } = ask(network.url)
  await expect.poll(text).toBe(ANSWER + ANSWER)
  expect(arrived).toBe(REQUEST + REQUEST)
})

it('delays, and keeps the order', async () => {
  await start('delay')
  const late = ask(network.url)
  await expect.poll(() => arrived).toBe(REQUEST)
  expect(late.text()).toBe('')
  await expect.poll(late.text).toBe(ANSWER)
})

it('swallows the answer, and leaves the connection open', async () => {
  await start('swallow')
  const { text, end } = ask(network.url)
  await expect.poll(() => arrived).toBe(REQUEST)
  const direct = ask(target)
  await expect.poll(direct.text).toBe(ANSWER)
  expect([text(), end()]).toEqual(['', undefined])
})

it.each(faultNames)('counts what it does, and is harmless once it is calm: %s', async (fault) => {
  await start(fault)
  const before = ask(network.url)
  await expect.poll(() => network.done).toEqual({ [fault]: 1 })
  network.calm()
  await expect.poll(before.end).toBeDefined()
  const after = ask(network.url)
  await expect.poll(after.text).toBe(ANSWER)
  expect(network.done).toEqual({ [fault]: 1 })
})
