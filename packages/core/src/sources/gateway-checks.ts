import { UnavailableError } from '../errors.js'
import { onAbort } from '../settle.js'
import type { Connection } from '../transport/connection.js'
import { IO_OUTLIVES_REQUESTS } from '../transport/requests.js'
import { Call, type GatewayAnswer, type GatewayRequest, sizeOfBatch } from '../transport/transport.js'
import type { Answer, DecisionRequest } from '../types.js'
import { answersOfChecks } from './gateway-answer.js'

/**
 * A check that waits for its answer. It is over with whatever comes first: the answer, a failure, its time-out, or its caller
 * going away; what comes later is ignored.
 */
export class WaitingCheck {
  readonly request: DecisionRequest
  /** What is sent of it among others. */
  readonly item: string
  readonly answer: Promise<Answer>
  #resolve!: (answer: Answer) => void
  #reject!: (error: Error) => void
  #over = false
  #call: Call | undefined
  readonly #timer: ReturnType<typeof setTimeout>
  #forget = () => {}

  /** @param late Makes the error of the time-out. */
  constructor(request: DecisionRequest, item: string, timeoutMs: number, late: () => Error) {
    this.request = request
    this.item = item
    this.answer = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    this.#timer = setTimeout(() => this.#giveUp(late()), timeoutMs)
    this.#forget = onAbort(request.signal, () => this.#giveUp(new UnavailableError('The caller of the check went away')))
  }

  get isOver(): boolean {
    return this.#over
  }

  /** It is being asked now: the call ends when all that it is for have gone. */
  askedBy(call: Call): void {
    this.#call = call
  }

  settle(answer: Answer): void {
    if (this.#finish()) this.#resolve(answer)
  }

  fail(error: Error): void {
    if (this.#finish()) this.#reject(error)
  }

  #giveUp(error: Error): void {
    this.fail(error)
    this.#call?.leave(error)
  }

  #finish(): boolean {
    if (this.#over) return false
    this.#over = true
    clearTimeout(this.#timer)
    this.#forget()
    return true
  }
}

/** Asks for checks in one exchange. Never rejects: all of them fail if it does, and there is no answer then. */
export async function exchange(
  connection: Connection,
  checks: readonly WaitingCheck[],
  request: GatewayRequest,
): Promise<GatewayAnswer | undefined> {
  const call = new Call(checks.length)
  for (const check of checks) check.askedBy(call)
  try {
    return await connection.ask(request, call)
  } catch (error) {
    for (const check of checks) check.fail(error as Error)
    return undefined
  }
}

/** Settles checks with what is read of an answer. */
export function settle(checks: readonly WaitingCheck[], read: () => readonly Answer[]): void {
  try {
    for (const [i, answer] of read().entries()) checks[i]?.settle(answer)
  } catch (error) {
    for (const check of checks) check.fail(error as Error)
  }
}

/** Checks that the gateway takes at once, and bytes of them. */
const MAX_CHECKS = 64
const MAX_BYTES = 1_000_000
/** Exchanges of the queue at the same time. Where an exchange dies with its request, each request has its own. */
const MAX_OPEN = IO_OUTLIVES_REQUESTS ? 2 : Number.POSITIVE_INFINITY

/**
 * Checks of all agents, sent together. There is no timer: what is asked in one turn goes together, and what is asked while
 * {@link MAX_OPEN} exchanges are open goes with the next.
 */
export class CheckQueue {
  readonly #connection: Connection
  readonly #headers: Readonly<Record<string, string>>
  #waiting: WaitingCheck[] = []
  #open = 0
  #isScheduled = false

  /** @param token A service token with the scope `decide`. */
  constructor(connection: Connection, token: string) {
    this.#connection = connection
    this.#headers = Object.freeze({
      accept: 'application/json',
      authorization: `Bearer ${token}`,
      'content-type': 'application/json',
    })
  }

  add(check: WaitingCheck): void {
    this.#waiting.push(check)
    this.#schedule()
  }

  /** Asks for these alone, in order: as many at a time as the gateway takes. */
  async askInOrder(checks: readonly WaitingCheck[]): Promise<void> {
    for (let rest = checks; rest.length > 0; ) {
      const size = sizeOfBatch(rest, bytesOf, MAX_CHECKS, MAX_BYTES)
      await this.#ask(rest.slice(0, size))
      rest = rest.slice(size)
    }
  }

  #schedule(): void {
    if (this.#isScheduled || this.#open >= MAX_OPEN || this.#waiting.length === 0) return
    this.#isScheduled = true
    queueMicrotask(() => {
      this.#isScheduled = false
      this.#sendWaiting()
    })
  }

  #sendWaiting(): void {
    const batch = this.#nextBatch()
    if (batch.length > 0) {
      this.#open++
      this.#ask(batch).finally(() => {
        this.#open--
        this.#schedule()
      })
    }
    this.#schedule()
  }

  #nextBatch(): WaitingCheck[] {
    const size = sizeOfBatch(this.#waiting, bytesOf, MAX_CHECKS, MAX_BYTES)
    const batch = this.#waiting.slice(0, size)
    this.#waiting = this.#waiting.slice(size)
    return batch.filter((check) => !check.isOver)
  }

  /**
   * Checks that the gateway does not take together (400, 413) are asked for again in halves, so that one which it cannot read
   * is refused by itself and not with those of other agents.
   */
  async #ask(checks: readonly WaitingCheck[]): Promise<void> {
    if (checks.length === 0) return
    const body = `{"checks":[${checks.map(({ item }) => item).join(',')}]}`
    const request: GatewayRequest = { method: 'POST', path: '/v1/checks', headers: this.#headers, body }
    const answer = await exchange(this.#connection, checks, request)
    if (answer === undefined) return
    if (checks.length > 1 && (answer.status === 400 || answer.status === 413)) {
      const half = checks.length >> 1
      for (const part of [checks.slice(0, half), checks.slice(half)]) await this.#ask(part.filter(({ isOver }) => !isOver))
      return
    }
    settle(checks, () =>
      answersOfChecks(
        answer,
        checks.map(({ request }) => request),
      ),
    )
  }
}

/** The text of a check is ASCII; a comma follows it. */
function bytesOf({ item }: WaitingCheck): number {
  return item.length + 1
}
