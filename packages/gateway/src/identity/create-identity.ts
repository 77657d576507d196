import { AuthenticationError } from '@meshguard/core'
import { bearerOf, isPromise } from '@meshguard/core/http'
import type { Identity, ServiceCaller, Services } from '../services.js'
import type { TokenRecord } from '../store/store.js'
import { delegatedAgent, isDelegated } from './delegated.js'
import type { Claims } from './keys.js'
import { type KnownAgent, KnownAgents } from './known-agents.js'
import { digestOf, equalDigests } from './secrets.js'

/** What {@link createIdentity} works with. */
export interface IdentityParts extends Pick<Services, 'store' | 'keys' | 'log' | 'now'> {
  /** The SHA-256 of the admin token, in lower-case hex. */
  readonly adminTokenDigest: string
}

const SERVICE = 'msvc_'
const OPERATOR = 'msat_'
/** Longer ones are not looked at. */
const MAX_SECRET = 512

/** Finds out who calls: agents by their tokens and the registry, services and operators by their secrets' digests. */
export function createIdentity({ store, keys, log, now, adminTokenDigest }: IdentityParts): Identity {
  const agents = new KnownAgents(store.agents, log)
  store.changes?.subscribe((changes) => {
    if (changes === undefined) agents.forgetAll()
    else for (const { kind, key } of changes) if (kind === 'agents') agents.forget(key)
  })

  const admit = (known: KnownAgent | undefined, gen: unknown) => {
    if (known === undefined) throw new AuthenticationError('The token is for an agent that is not in the registry')
    if (!known.isActive) throw new AuthenticationError('The agent is revoked')
    if (known.generation !== gen) throw new AuthenticationError('The token is revoked')
    agents.saw(known, now())
    return known.who
  }
  const identify = (claims: Claims) => {
    if (isDelegated(claims)) return actor(claims)
    const known = agents.get(claims['sub'] as string)
    const gen = claims['gen'] ?? 0
    return isPromise(known) ? known.then((found) => admit(found, gen)) : admit(known, gen)
  }
  const actor = async (claims: Claims) => {
    const { who, leaf } = await delegatedAgent(claims, store.delegations, agents, now())
    agents.saw(leaf, now())
    return who
  }
  const findService = async (token: string): Promise<ServiceCaller | undefined> => {
    if (!(token.startsWith(SERVICE) || token.startsWith(OPERATOR)) || token.length > MAX_SECRET) return undefined
    const hash = digestOf(token)
    const record = await store.tokens.findByHash(hash)
    return record !== undefined && isGood(record, hash, now()) ? callerOf(record) : undefined
  }

  return {
    agentOf(token) {
      const claims = keys.verify(token)
      return isPromise(claims) ? claims.then(identify) : identify(claims)
    },
    agentById(id) {
      const known = agents.get(id)
      return isPromise(known) ? known.then(activeAgent) : activeAgent(known)
    },
    async serviceOf(token) {
      const service = await findService(token)
      if (service === undefined) throw new AuthenticationError('The service token is unknown, revoked or expired')
      return service
    },
    async isOperator(headers) {
      for (const secret of operatorSecretsOf(headers)) {
        if (equalDigests(digestOf(secret), adminTokenDigest)) return true
        const service = await findService(secret)
        if (service?.scopes.includes('admin')) return true
      }
      return false
    },
    forget: (agentId) => agents.forget(agentId),
  }
}

function activeAgent(known: KnownAgent | undefined) {
  return known?.isActive === true ? known.who.agent : undefined
}

function isGood(record: TokenRecord, hash: string, now: number): boolean {
  return equalDigests(record.hash, hash) && (record.expiresAt === undefined || now < record.expiresAt)
}

function callerOf({ id, name, scopes }: TokenRecord): ServiceCaller {
  return { id, name, scopes }
}

/** `X-Admin-Token`, and a bearer token that is an operator's or a service's. */
function operatorSecretsOf(headers: Headers): string[] {
  const admin = headers.get('x-admin-token')
  const bearer = bearerOf(headers.get('authorization') ?? '')
  const own = bearer?.startsWith(OPERATOR) || bearer?.startsWith(SERVICE) ? bearer : undefined
  return [admin, own].filter((secret) => typeof secret === 'string' && secret !== '' && secret.length <= MAX_SECRET) as string[]
}
