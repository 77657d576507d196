import { checksActions, isAction } from '../action.js'
import { assertMs, assertOptions } from '../options.js'
import { Connection } from '../transport/connection.js'
import { assertToken, isBearerToken, readGatewayUrl } from '../transport/transport.js'
import type { Answer, DecisionRequest, DecisionSource } from '../types.js'
import { answerOfCheck } from './gateway-answer.js'
import { CheckQueue, exchange, settle, WaitingCheck } from './gateway-checks.js'
import { headersOf, itemOf } from './gateway-question.js'

/** Options of {@link fromGateway}. */
export interface FromGatewayOptions {
  /** Where the gateway is: `http://127.0.0.1:3100`. A path in it is put before the gateway's own. */
  readonly url: string
  /**
   * A *service token* with the scope `decide`. With it the source also asks for agents that the application authenticated
   * itself, tells the gateway `request.*`, and sends checks that wait together.
   */
  readonly token?: string | undefined
  /**
   * How long a check waits for its answer, in ms, the second attempt included. Default 800: less than the guard's own
   * `timeoutMs`, so that a gateway that hangs counts as not reached.
   */
  readonly timeoutMs?: number | undefined
}

/** A source that asks a gateway. */
export interface GatewaySource extends DecisionSource {
  readonly name: 'gateway'
  readonly authenticates: true
  decide(request: DecisionRequest): Answer | Promise<Answer>
  /** What waits is still answered; what comes later is `unavailable`. */
  close(): Promise<void>
}

const DEFAULT_TIMEOUT_MS = 800

const UNSENT: Readonly<Record<'action' | 'none' | 'token' | 'service' | 'closed', Answer>> = {
  action: { allowed: false, code: 'invalid_action', reason: 'The action is not of the form verb:object' },
  none: { allowed: false, code: 'unauthenticated', reason: 'No credential was presented' },
  token: { allowed: false, code: 'unauthenticated', reason: 'The token is malformed' },
  service: {
    allowed: false,
    code: 'unavailable',
    reason: 'fromGateway needs a service token ("token") to ask for agents that the application authenticated itself',
  },
  closed: { allowed: false, code: 'unavailable', reason: 'The source is closed' },
}

/**
 * Asks a gateway for every decision; nothing is remembered.
 *
 * The agent's own token is sent along and verified there, so that the guard needs no `authenticate`; an agent without one is
 * asked for by its id, which takes a service token. The tier and tags that count are those of the gateway's registry. Of an
 * agent that the gateway authenticated only the id is known here.
 *
 * It rejects with `ConnectionError` when the gateway could not be reached: no connection, no answer in time, or a 502 to 504.
 * After five of those in a row it does so at once, and asks again with one exchange a second. Every other failure is `unavailable`:
 * a redirect, HTML, an empty, oversized or malformed answer, a decision that does not agree with its status, a limit of the
 * gateway's own (`too_many_requests`), a service token that is not good.
 * Connections are kept open. On Node they are undici's, by its global dispatcher, if undici (an optional peer) is installed,
 * else those of `fetch`. A connection that failed is tried once more.
 *
 * Without a service token, resource and context travel in headers: a resource that is not printable ASCII and a context over
 * 4 KiB are `unavailable`, and policies that look at `request.*` do not see it. Decisions cannot be explained from here: ask the
 * gateway's own `POST /admin/policies/test`.
 *
 * @throws TypeError for wrong options.
 *
 * @example
 * ```ts
 * const guard = createGuard({ source: fromGateway({ url: 'http://127.0.0.1:3100' }) })
 * const decision = await guard.check('read:contacts', { token })
 * ```
 */
export function fromGateway(options: FromGatewayOptions): GatewaySource {
  assertOptions('fromGateway', options, ['url', 'token', 'timeoutMs'])
  const { url, token, timeoutMs = DEFAULT_TIMEOUT_MS } = options
  const connection = new Connection(readGatewayUrl('fromGateway', url))
  if (token !== undefined) assertToken('fromGateway', token)
  assertMs('fromGateway', 'timeoutMs', timeoutMs)
  const start = (request: DecisionRequest, item: string) =>
    new WaitingCheck(request, item, timeoutMs, () => connection.late(timeoutMs))
  let isClosed = false
  const refuse = (request: DecisionRequest) => (isClosed ? UNSENT.closed : refusalOf(request, token !== undefined))
  const asking =
    token === undefined ? askAlone(connection, start) : askTogether(new CheckQueue(connection, token), start, refuse)
  return {
    ...asking,
    name: 'gateway',
    authenticates: true,
    decide: checksActions((request: DecisionRequest): Answer | Promise<Answer> => {
      const refused = refuse(request)
      if (refused !== undefined) return refused
      return connection.isDown ? Promise.reject(connection.down()) : asking.decide(request)
    }),
    close: async () => {
      isClosed = true
    },
  }
}

type Start = (request: DecisionRequest, item: string) => WaitingCheck
type Refuse = (request: DecisionRequest) => Answer | undefined

/** Each check is an exchange of its own, as the agent itself would make it. */
function askAlone(connection: Connection, start: Start): Pick<GatewaySource, 'decide'> {
  const ask = async (check: WaitingCheck, headers: Readonly<Record<string, string>>): Promise<void> => {
    const answer = await exchange(connection, [check], { method: 'GET', path: '/proxy/check', headers })
    if (answer !== undefined) settle([check], () => [answerOfCheck(answer, check.request)])
  }
  return {
    decide(request) {
      const headers = headersOf(request)
      if ('refused' in headers) return headers.refused
      const check = start(request, '')
      void ask(check, headers.written)
      return check.answer
    },
  }
}

/** Checks that wait are sent together, each with its own agent's token. */
function askTogether(queue: CheckQueue, start: Start, refuse: Refuse): Pick<GatewaySource, 'decide' | 'decideMany'> {
  const write = (request: DecisionRequest): WaitingCheck | Answer => {
    const item = itemOf(request)
    return 'refused' in item ? item.refused : start(request, item.written)
  }
  return {
    decide(request) {
      const check = write(request)
      if (!(check instanceof WaitingCheck)) return check
      queue.add(check)
      return check.answer
    },
    decideMany(requests) {
      const checks = requests.map((request) => refuse(request) ?? write(request))
      void queue.askInOrder(checks.filter((check) => check instanceof WaitingCheck))
      return Promise.all(checks.map((check) => (check instanceof WaitingCheck ? check.answer : check)))
    },
  }
}

/** The answer to what need not, or cannot, be asked. */
function refusalOf({ action, token, agent }: DecisionRequest, isService: boolean): Answer | undefined {
  if (!isAction(action)) return UNSENT.action
  if (token !== undefined) return isBearerToken(token) ? undefined : UNSENT.token
  if (agent === undefined) return UNSENT.none
  return isService ? undefined : UNSENT.service
}
