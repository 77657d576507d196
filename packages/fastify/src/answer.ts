import { isPromise, type Refusal } from '@meshguard/core/http'
import type { Passage } from './passage.js'
import type { FastifyGuard } from './routes.js'

type OnDenied = NonNullable<FastifyGuard['options']['onDenied']>

/**
 * Answers a denial: as `onDenied` wants it, or by default. Nothing else of the request runs.
 *
 * @param timeoutMs How long `onDenied` may take to send something, if it was given the reply.
 */
export function refuse(refusal: Refusal, passage: Passage, onDenied: OnDenied | undefined, timeoutMs: number) {
  if (onDenied === undefined) return answer(refusal, passage)
  const { request, reply } = passage
  const turn = new Turn(refusal, passage, timeoutMs)
  try {
    const settled = onDenied(refusal.decision, request, reply)
    if (settled === reply) return
    if (!isPromise(settled)) return onDenied.length < 3 ? turn.end() : undefined
    settled.then(
      () => turn.end(),
      (error) => turn.fail(error),
    )
  } catch (error) {
    turn.fail(error)
  }
}

function answer(refusal: Refusal, passage: Passage) {
  if (passage.over) return
  passage.reply.serializer(asIs).code(refusal.status).headers(refusal.headers).send(refusal.body)
}

const asIs = (payload: unknown) => payload as string

/** The time that `onDenied` has to send something. When it is over and nothing was sent, the default answer goes out. */
class Turn {
  #open = true
  readonly #timer: NodeJS.Timeout

  constructor(
    readonly refusal: Refusal,
    readonly passage: Passage,
    timeoutMs: number,
  ) {
    const { reply } = passage
    this.#timer = setTimeout(() => this.end(), timeoutMs)
    reply.send = (payload) => {
      this.#close()
      return reply.send(payload)
    }
  }

  /** Nothing more will come of it. */
  end(): void {
    if (!this.#open) return
    this.#close()
    answer(this.refusal, this.passage)
  }

  fail(err: unknown): void {
    this.passage.reply.log.error({ err }, 'MeshGuard: onDenied failed, the default answer was sent')
    this.end()
  }

  #close(): void {
    this.#open = false
    clearTimeout(this.#timer)
    Reflect.deleteProperty(this.passage.reply, 'send')
  }
}
