import { Directory, REVOKED, type Subject, subjectOf, type Who } from '../bundle/subject.js'
import type { BundleSync } from '../bundle/sync.js'
import type { Bundle } from '../bundle/verify.js'
import { AuthenticationError, ConnectionError, messageOf, UnavailableError } from '../errors.js'
import type { Evaluator } from '../policy/evaluator.js'
import { isPromise } from '../settle.js'
import { type KeyRing, keyRing } from '../tokens/key-ring.js'
import { type TokenRules, tokenVerifier, type VerifyToken } from '../tokens/verify.js'
import type { Answer, AnswerExplanation, DecisionRequest, Limiter } from '../types.js'
import { decideMany, evaluatorFor, explain } from './from-policies.js'

const refused = (code: Answer['code'], reason: string): Answer => Object.freeze({ allowed: false, code, reason })
const CLOSED = refused('unavailable', 'The source is closed')
const NO_BUNDLE = refused('unavailable', 'There is no bundle to decide by')
const TOO_OLD = refused('unavailable', 'The bundle is too old to decide by')

/** What a token has proved: its subject, nothing where there is none, or the answer to one that is not good. */
type Proof = Subject | Answer | undefined

/** Decides by the bundle that is in force. */
export class BundleDecider {
  readonly #sync: BundleSync
  readonly #limiter: Limiter
  readonly #verify: VerifyToken<Subject>
  /** Called on every use. */
  readonly #onUse: () => void
  #evaluator: Evaluator | undefined
  #directory = new Directory({ agents: new Map(), delegations: [] })
  #ring: KeyRing<Subject> = keyRing<Subject>([])
  #ringText = ''

  constructor(sync: BundleSync, limiter: Limiter, rules: TokenRules, onUse: () => void) {
    this.#sync = sync
    this.#limiter = limiter
    this.#onUse = onUse
    const keys = {
      current: () => this.#ring,
      load: async () => this.#ring,
      renew: async (now: number) => {
        if (sync.isGood(now)) await sync.renew(now)
        return this.#ring
      },
    }
    this.#verify = tokenVerifier(keys, rules, subjectOf)
  }

  /** Puts a bundle in force. What is remembered of policies and keys that are the same as before stays. */
  take(bundle: Bundle): void {
    const { policies } = bundle
    if (this.#evaluator?.policies.version !== policies.version) this.#evaluator = evaluatorFor(policies)
    this.#directory = new Directory(bundle)
    const text = JSON.stringify(bundle.jwks)
    if (text !== this.#ringText) this.#ring = keyRing<Subject>(bundle.tokenKeys)
    this.#ringText = text
  }

  decide(request: DecisionRequest, now: number = Date.now()): Answer | Promise<Answer> {
    if (this.#sync.isDue(now)) this.#poll(request, now)
    if (!this.#sync.isGood(now)) return this.#decideLater(request, now)
    const { agent, token, delegation } = request
    if (token === undefined && delegation === undefined && agent !== undefined && !this.#directory.knows(agent)) {
      return (this.#evaluator as Evaluator).decide(request, now, this.#limiter)
    }
    const proof = this.#prove(token)
    return isPromise(proof) ? this.#decideProved(request, proof, now) : this.#answer(request, proof, now)
  }

  decideMany(requests: readonly DecisionRequest[], now: number = Date.now()): readonly Answer[] | Promise<readonly Answer[]> {
    const [first] = requests
    if (first === undefined) return []
    if (this.#sync.isDue(now)) this.#poll(first, now)
    if (!this.#sync.isGood(now)) return this.#decideManyLater(requests, now)
    const proofs = requests.map(({ token }) => this.#prove(token))
    return proofs.some(isPromise)
      ? this.#decideManyProved(requests, proofs, now)
      : this.#answerMany(requests, proofs as Proof[], now)
  }

  async explain(request: DecisionRequest, now: number = Date.now()): Promise<AnswerExplanation> {
    if (this.#sync.isDue(now)) this.#poll(request, now)
    if (!(await this.#becomesGood(now))) throw this.#sync.failure ?? new UnavailableError(String(this.#unavailable().reason))
    const who = this.#who(request, await this.#prove(request.token), now)
    if ('code' in who) return { ...who, steps: [] }
    return { ...explain(this.#evaluator as Evaluator, asked(request, who), now), ...named(who) }
  }

  /** Whoever asks does not wait for it. */
  #poll(request: DecisionRequest, now: number): void {
    if (this.#sync.isClosed) return
    this.#onUse()
    const { done } = this.#sync.refresh(now)
    request.waitUntil?.(done)
  }

  /** Verifies a token; synchronous for one that is remembered. Never throws. */
  #prove(token: string | undefined): Proof | Promise<Proof> {
    if (token === undefined) return undefined
    try {
      const verified = this.#verify(token)
      return isPromise(verified) ? verified.then(({ value }) => value, answerOf) : verified.value
    } catch (error) {
      return answerOf(error)
    }
  }

  #who(request: DecisionRequest, proof: Proof, now: number): Who | Answer {
    return proof !== undefined && 'code' in proof ? proof : this.#directory.resolve(request, proof, now)
  }

  #answer(request: DecisionRequest, proof: Proof, now: number): Answer | Promise<Answer> {
    const who = this.#who(request, proof, now)
    if ('code' in who) return who
    const answer = (this.#evaluator as Evaluator).decide(asked(request, who), now, this.#limiter)
    return isPromise(answer) ? answer.then((late) => ({ ...late, ...named(who) })) : { ...answer, ...named(who) }
  }

  /** What was proved by keys that are in force no more has to be proved again. */
  async #decideProved(request: DecisionRequest, proving: Promise<Proof>, now: number): Promise<Answer> {
    const ring = this.#ring
    const proof = await proving
    if (ring !== this.#ring || !this.#sync.isGood(now)) return this.decide(request, now)
    return this.#answer(request, proof, now)
  }

  #answerMany(
    requests: readonly DecisionRequest[],
    proofs: readonly Proof[],
    now: number,
  ): readonly Answer[] | Promise<readonly Answer[]> {
    const whos = requests.map((request, i) => this.#who(request, proofs[i], now))
    const good = requests.flatMap((request, i) => {
      const who = whos[i] as Who | Answer
      return 'code' in who ? [] : [asked(request, who)]
    })
    const merge = (answers: readonly Answer[]): Answer[] => {
      const left = answers.values()
      return whos.map((who) => ('code' in who ? who : { ...(left.next().value as Answer), ...named(who) }))
    }
    const answers = decideMany(this.#evaluator as Evaluator, good, now, this.#limiter)
    return isPromise(answers) ? answers.then(merge) : merge(answers)
  }

  async #decideManyProved(
    requests: readonly DecisionRequest[],
    proving: readonly (Proof | Promise<Proof>)[],
    now: number,
  ): Promise<readonly Answer[]> {
    const ring = this.#ring
    const proofs = await Promise.all(proving)
    if (ring !== this.#ring || !this.#sync.isGood(now)) return this.decideMany(requests, now)
    return this.#answerMany(requests, proofs, now)
  }

  /** Waits for an attempt, but not while the last one failed: then nobody knows how long it takes. */
  async #becomesGood(now: number): Promise<boolean> {
    const { attempt, failure } = this.#sync
    if (failure === undefined && !this.#sync.isGood(now)) await (attempt?.ready ?? this.#sync.renew(now))
    return this.#sync.isGood(now)
  }

  async #decideLater(request: DecisionRequest, now: number): Promise<Answer> {
    if (await this.#becomesGood(now)) return this.decide(request, now)
    if (this.#sync.bundle !== undefined) {
      const who = this.#who(request, await this.#prove(request.token), now)
      if ('code' in who && REVOKED.has(who)) return who
    }
    const { failure } = this.#sync
    const answer = this.#unavailable()
    if (failure instanceof ConnectionError && answer !== CLOSED) throw failure
    return answer
  }

  async #decideManyLater(requests: readonly DecisionRequest[], now: number): Promise<readonly Answer[]> {
    if (await this.#becomesGood(now)) return this.decideMany(requests, now)
    return Promise.all(requests.map((request) => this.decide(request, now)))
  }

  #unavailable(): Answer {
    if (this.#sync.isClosed) return CLOSED
    if (this.#sync.bundle === undefined) return NO_BUNDLE
    this.#sync.report(new UnavailableError(String(TOO_OLD.reason)))
    return TOO_OLD
  }
}

/** The question about who was found to ask it. */
function asked(request: DecisionRequest, { agent, delegation }: Who): DecisionRequest {
  return { ...request, agent, delegation }
}

/** Whom an answer is about. */
function named({ agent, chain }: Who): Pick<Answer, 'agent' | 'chain'> {
  return { agent, chain }
}

function answerOf(error: unknown): Answer {
  if (error instanceof AuthenticationError) return refused('unauthenticated', error.message)
  return refused('unavailable', messageOf(error, 'The token could not be verified'))
}
