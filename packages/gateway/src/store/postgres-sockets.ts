import { once } from 'node:events'
import { Socket } from 'node:net'

/** A server that does not answer any more is not waited for longer when connections end. */
const END_MS = 1000

/** The sockets of connections to PostgreSQL: the driver waits, without a limit, for the server to end its side of them. */
export class PostgresSockets {
  readonly #open = new Set<Socket>()

  /** What the driver makes a connection with. */
  readonly make = (): Socket => {
    const socket = new Socket()
    this.#open.add(socket)
    socket.once('close', () => this.#open.delete(socket))
    return socket
  }

  /** Resolves when all are closed; those that are not after a second are cut. */
  async close(): Promise<void> {
    const open = [...this.#open]
    const late = setTimeout(() => {
      for (const socket of open) socket.destroy()
    }, END_MS)
    await Promise.all(open.map((socket) => once(socket, 'close').catch(() => undefined)))
    clearTimeout(late)
  }
}
