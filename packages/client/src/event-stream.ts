import { ConnectionError } from '@meshguard/core'

/** One server-sent event. */
export interface ServerSentEvent {
  /** The last `id` that the stream named, this event's or an earlier one's. */
  readonly id: string | undefined
  readonly data: string
}

/**
 * Reads server-sent events (WHATWG HTML, 9.2.6). A block without `data` is no event, but its `id` counts for the next ones
 * and is told to `onId`. Leaving the loop cancels the stream.
 *
 * @throws ConnectionError when the stream breaks; every runtime has an error of its own for that.
 */
export async function* readEvents(
  stream: ReadableStream<Uint8Array>,
  onId: (id: string) => void,
): AsyncGenerator<ServerSentEvent, void, undefined> {
  const reader = stream.getReader()
  const decoder = new TextDecoder()
  let id: string | undefined
  let data: string[] = []
  let rest = ''
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((cause: unknown): never => {
        throw new ConnectionError('The event stream broke', { cause })
      })
      if (done) return
      const lines = (rest + decoder.decode(value, { stream: true })).split(/\r\n|\n|\r(?!$)/)
      rest = lines.pop() as string
      for (const line of lines) {
        if (line === '') {
          if (id !== undefined) onId(id)
          if (data.length > 0) yield { id, data: data.join('\n') }
          data = []
          continue
        }
        const [, field, text] = /^([^:]*):? ?(.*)$/s.exec(line) as unknown as [string, string, string]
        if (field === 'data') data.push(text)
        if (field === 'id' && !text.includes('\0')) id = text
      }
    }
  } finally {
    // Of a stream that broke it says so again.
    await reader.cancel().catch(() => undefined)
  }
}
