/** Reads a stream of server-sent events, one block at a time. */
export class EventBlocks {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>
  readonly #decoder = new TextDecoder()
  #rest = ''

  constructor(body: ReadableStream<Uint8Array> | null) {
    if (body === null) throw new Error('The answer has no body')
    this.#reader = body.getReader()
  }

  /** The next block, without the empty line behind it; `undefined` at the end. */
  async next(): Promise<string | undefined> {
    while (!this.#rest.includes('\n\n')) {
      const { done, value } = await this.#reader.read()
      if (done) return undefined
      this.#rest += this.#decoder.decode(value, { stream: true })
    }
    const end = this.#rest.indexOf('\n\n')
    const block = this.#rest.slice(0, end)
    this.#rest = this.#rest.slice(end + 2)
    return block
  }

  cancel(): Promise<void> {
    return this.#reader.cancel()
  }
}

/** The value of a field in a block: its `id`, its `data`. */
export function fieldOf(block: string, name: string): string | undefined {
  return new RegExp(`^${name}: (.*)$`, 'm').exec(block)?.[1]
}
