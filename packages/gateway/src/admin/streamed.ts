/**
 * A body of text that is made as fast as it is read and no faster: nothing is made before somebody reads. When the reader goes
 * away, `gone` is aborted, so that what waits stops waiting, and the generator is returned from.
 */
export function streamed(generate: (gone: AbortSignal) => AsyncGenerator<string, void, undefined>): ReadableStream<Uint8Array> {
  const gone = new AbortController()
  const texts = generate(gone.signal)
  const encoder = new TextEncoder()
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const { done, value } = await texts.next()
        if (gone.signal.aborted) return
        if (done === true) controller.close()
        else controller.enqueue(encoder.encode(value))
      },
      async cancel() {
        gone.abort()
        await texts.return()
      },
    },
    { highWaterMark: 0 },
  )
}
