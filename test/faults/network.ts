/** A network that fails: a TCP proxy that does something to the bytes of every second connection or so. */
import { connect, createServer, type Server, type Socket } from 'node:net'

export interface Network {
  /** In place of the address that it stands before. */
  readonly url: string
  /** How often each thing was done to a connection. */
  readonly done: Readonly<Record<string, number>>
  /** Breaks what is open, and lets everything through from now on. */
  calm(): void
  close(): Promise<void>
}

/** What is done with the two ends of a connection. */
type Fault = (client: Socket, upstream: Socket, random: () => number) => void

const FAULTS = {
  refuse: (client) => void client.destroy(),
  reset: (client, upstream) => void upstream.once('data', () => client.resetAndDestroy()),
  cut: (client, upstream, random) =>
    void upstream.once('data', (data) => client.end(data.subarray(0, Math.floor(data.length * random())))),
  trickle: (client, upstream) => void upstream.on('data', (data) => void trickle(client, data)),
  duplicate: (client, upstream) => void upstream.on('data', (data) => client.write(Buffer.concat([data, data]))),
  repeat: (client, upstream) => {
    client.on('data', (data) => setTimeout(() => upstream.write(data), 2))
    upstream.pipe(client)
  },
  delay: (client, upstream, random) => {
    const ms = 200 * random()
    upstream.on('data', (data) => setTimeout(() => client.write(data), ms))
  },
  swallow: (_client, upstream) => void upstream.resume(),
} satisfies Readonly<Record<string, Fault>>

/** What can be done: `duplicate` sends each answer twice, `repeat` each request. */
export type FaultName = keyof typeof FAULTS

/** The names of all, in alphabetical order. */
export const faultNames = (Object.keys(FAULTS) as FaultName[]).sort()

/** How a network fails. */
export interface NetworkOptions {
  /** How many of the connections something is done to, 0 to 1. Default 0.5. */
  readonly share?: number
  /** What is done to them, in turns. Default all. */
  readonly faults?: readonly FaultName[]
}

/**
 * Starts one before a server on a loopback port. Each connection ends after up to eight answers.
 */
export async function startNetwork(
  target: string,
  random: () => number,
  { share = 0.5, faults = faultNames }: NetworkOptions = {},
): Promise<Network> {
  const { port } = new URL(target)
  const sockets = new Set<Socket>()
  const done: Record<string, number> = {}
  let isCalm = false
  let turn = Math.floor(faults.length * random())
  const server: Server = createServer((client) => {
    const upstream = connect(Number(port), '127.0.0.1')
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on('error', () => undefined)
      socket.on('close', () => {
        sockets.delete(socket)
        for (const one of [client, upstream]) one.destroy()
      })
    }
    client.pipe(upstream)
    if (isCalm) return void upstream.pipe(client)
    if (random() < share) {
      const name = faults[turn++ % faults.length] as FaultName
      done[name] = (done[name] ?? 0) + 1
      FAULTS[name](client, upstream, random)
    } else upstream.on('data', (data) => client.write(data))
    endLater(client, upstream, random)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as { port: number }).port}`,
    done,
    calm() {
      isCalm = true
      for (const socket of sockets) socket.destroy()
    },
    close: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve())
        for (const socket of sockets) socket.destroy()
      }),
  }
}

/** A connection that is kept open does not stay as it is for ever: it ends after up to eight answers. */
function endLater(client: Socket, upstream: Socket, random: () => number): void {
  let left = 1 + Math.floor(8 * random())
  upstream.on('data', () => {
    if (--left === 0) client.destroySoon()
  })
}

async function trickle(client: Socket, data: Buffer): Promise<void> {
  for (let i = 0; i < data.length && !client.destroyed; i += 200) {
    client.write(data.subarray(i, i + 200))
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

/** The same numbers for the same seed (mulberry32). */
export function randomFrom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}
