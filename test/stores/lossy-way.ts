import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { onTestFinished } from 'vitest'

/** What a server sends when it waits for a statement, and when it ends a connection. */
const READY = Buffer.from('Z\0\0\0\x05I', 'latin1')
const ENDED = Buffer.from('E\0\0\0\x2bSFATAL\0C57P01\0Mterminating connection\0\0', 'latin1')

export interface LossyWay {
  readonly url: string
  loseAnswers(): void
  /** Ends connections in the same packet that says they are ready. */
  endAsTheyAreReady(isEnding: boolean): void
  freeze(isFrozen: boolean): void
  /** Lets a connection (1 is the next) freeze when the server has sent something this often on it. */
  freezeAt(connection: number, packets: number): void
  /** Lets the next connection wait: resolves once there is one, with how to let it go on. */
  holdNext(): Promise<() => void>
  /** How many connections there are. */
  open(): number
}

/** A way to the server on which answers can be lost, or nothing passes any more. */
export async function lossyWay(databaseUrl: string): Promise<LossyWay> {
  const target = new URL(databaseUrl)
  const sockets = new Set<Socket>()
  let isLosing = false
  let isFrozen = false
  let isEnding = false
  let onNext: ((letGo: () => void) => void) | undefined
  let stops: { connection: number; packets: number } | undefined
  const proxy = createServer({ allowHalfOpen: true }, (client) => {
    if (stops !== undefined) stops.connection--
    const stop = stops?.connection === 0 ? stops : undefined
    const isStuck = () => isFrozen || stop?.packets === 0
    if (onNext !== undefined) {
      client.pause()
      onNext(() => client.resume())
      onNext = undefined
    }
    const upstream = connect(Number(target.port), target.hostname)
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on('error', () => socket.destroy())
      socket.on('close', () => sockets.delete(socket))
    }
    client.on('data', (bytes) => isStuck() || upstream.write(bytes))
    upstream.on('data', (bytes) => {
      if (isStuck()) return
      if (stop !== undefined) stop.packets--
      if (isLosing) client.destroy()
      else if (isEnding && bytes.includes(READY)) client.end(Buffer.concat([bytes, ENDED]))
      else client.write(bytes)
    })
    client.on('end', () => {
      if (!isStuck()) client.end()
      // One that is closed altogether, not for sending alone, refuses this.
      const probe = setInterval(() => client.write('N'), 100)
      client.on('close', () => clearInterval(probe))
    })
    client.on('close', () => upstream.end())
    upstream.on('close', () => client.destroy())
  })
  proxy.listen(0, '127.0.0.1')
  await once(proxy, 'listening')
  onTestFinished(() => {
    proxy.close()
    for (const socket of sockets) socket.destroy()
  })
  const url = new URL(databaseUrl)
  url.port = String((proxy.address() as { port: number }).port)
  return {
    url: url.href,
    holdNext: () =>
      new Promise((resolve) => {
        onNext = resolve
      }),
    open: () => sockets.size,
    endAsTheyAreReady(ending) {
      isEnding = ending
    },
    freeze(frozen) {
      isFrozen = frozen
    },
    freezeAt(connection, packets) {
      stops = { connection, packets }
    },
    loseAnswers() {
      isLosing = true
      setTimeout(() => {
        isLosing = false
      }, 50)
    },
  }
}
