import {
  type Answer,
  agentTokens,
  createGuard,
  type DecisionEvent,
  type DecisionRequest,
  type DecisionSource,
  type GeneratedKeyPair,
  type Guard,
  generateKeys,
  mintAgentToken,
} from '@meshguard/core'
import type { GuardSpec, Ran, SourceSpec, TokenSpec } from './spec.js'

let made: Promise<[GeneratedKeyPair, GeneratedKeyPair]> | undefined

/** Keys are made once in a process, when they are first needed: the agents' own, and one that the guard does not know. */
function keys(): Promise<[GeneratedKeyPair, GeneratedKeyPair]> {
  made ??= Promise.all([generateKeys(), generateKeys()])
  return made
}

/** A guard whose every step is recorded, in order. */
export interface World {
  readonly guard: Guard
  readonly asked: DecisionRequest[]
  readonly decided: DecisionEvent[]
  readonly ran: Ran[]
}

/** Makes the guard of a case. */
export async function createWorld(spec: GuardSpec): Promise<World> {
  const [own] = await keys()
  const [asked, decided]: [DecisionRequest[], DecisionEvent[]] = [[], []]
  const { mode, onUnavailable, timeoutMs, audience, revoked = [] } = spec
  const guard = createGuard({
    source: recorded(spec.source ?? {}, asked),
    authenticate: agentTokens({ publicKey: own.publicKey, audience, isRevoked: ({ id }) => revoked.includes(id) }),
    mode,
    onUnavailable,
    timeoutMs,
    audit: {
      record(event) {
        if (spec.sinkThrows === true) throw new Error('the disk is full')
        if (event.type === 'decision') decided.push(event)
      },
    },
  })
  return { guard, asked, decided, ran: [] }
}

function recorded(spec: SourceSpec, asked: DecisionRequest[]): DecisionSource {
  let count = 0
  return {
    name: 'recorded',
    decide(request) {
      asked.push(copied(request))
      if (spec.decide !== undefined) return spec.decide(request, ++count) as Answer
      return (spec.allow ?? []).some((pattern) => covers(pattern, request.action))
        ? { allowed: true, code: 'allowed', policy: 'contract', rule: 'allowed' }
        : { allowed: false, code: 'no_match' }
    },
  }
}

/** A question as it was when it was asked: adapters may use the object again. */
function copied({ action, agent, resource, context, request, traceId }: DecisionRequest): DecisionRequest {
  return { action, agent, resource, context, request, traceId }
}

function covers(pattern: string, action: string): boolean {
  return pattern.endsWith('*') ? action.startsWith(pattern.slice(0, -1)) : pattern === action
}

/** Mints a token, good or bad. */
export async function mint(spec: TokenSpec = {}): Promise<string> {
  const [own, foreign] = await keys()
  const { id = 'agent-1', trustTier = 'verified', tags, expiresInMs, issuer, audience, ageMs = 0 } = spec
  const key = spec.foreignKey === true ? foreign.privateKey : own.privateKey
  return mintAgentToken({ id, trustTier, tags, expiresInMs, issuer, audience, key, clock: () => Date.now() - ageMs })
}
