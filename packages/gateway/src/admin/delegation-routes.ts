import { randomBytes } from 'node:crypto'
import { Hono } from 'hono'
import type { z } from 'zod'
import { conflict, notFound } from '../http/errors.js'
import type { GatewayEnv, Services } from '../services.js'
import type { DelegationRecord } from '../store/store.js'
import { activeAgentOf, assertLife } from './agent-routes.js'
import { inTurn, record } from './changes.js'
import { isoTime } from './common-schemas.js'
import { MAX_DEPTH, newDelegation } from './delegation-schemas.js'
import { invalid, readBodyWith } from './read-request.js'

/** The right of one agent to act for another, and its end. */
export function delegationRoutes(services: Services): Hono<GatewayEnv> {
  const { store, keys, identity, bundles, now } = services
  const routes = new Hono<GatewayEnv>()

  routes.get('/', async (c) => c.json({ delegations: (await store.delegations.list()).map(delegationView) }))

  routes.post('/', async (c) => {
    const given = await readBodyWith(c, newDelegation)
    return inTurn(services, async () => {
      const chain = await chainOf(services, given)
      const delegation = chain.at(-1) as DelegationRecord
      const leaf = await activeAgentOf(services, given.to)
      const { token } = await keys.mint(leaf, { chain, expiresInMs: delegation.expiresAt - delegation.createdAt })
      const shown = delegationView(delegation)
      await record(services, c, { action: 'admin:delegations/create', resource: `delegations/${delegation.id}`, after: shown })
      await store.delegations.insert(delegation)
      bundles.changed()
      return c.json({ ...shown, token }, 201)
    })
  })

  routes.delete('/:id', (c) =>
    inTurn(services, async () => {
      const id = c.req.param('id')
      const delegation = await delegationOf(services, id)
      if (delegation.revokedAt !== undefined) throw conflict(`The delegation "${id}" was revoked already`)
      const before = delegationView(delegation)
      await record(services, c, { action: 'admin:delegations/revoke', resource: `delegations/${id}`, before })
      const revokedAt = now()
      try {
        await store.delegations.revoke(id, revokedAt)
      } finally {
        bundles.changed()
        for (const agent of heldThrough(id, await store.delegations.list())) identity.forget(agent)
      }
      return c.json(delegationView({ ...delegation, revokedAt }))
    }),
  )

  return routes
}

/**
 * The chain of a new delegation, from the root to itself.
 *
 * @throws RequestError 404 for what is unknown, 409 for what was revoked or has expired; ValidationError for a chain that cannot be.
 */
async function chainOf(services: Services, given: z.output<typeof newDelegation>): Promise<DelegationRecord[]> {
  const { from, to, actions, expiresIn, reason, parent } = given
  const createdAt = services.now()
  const chain = parent === undefined ? [] : await liveChainTo(services, parent, createdAt)
  const last = chain.at(-1)
  if (last !== undefined && last.to !== from)
    throw invalid(['parent'], `that delegation is held by "${last.to}", not by "${from}"`)
  if (chain.length >= MAX_DEPTH) throw invalid(['parent'], `a chain has at most ${MAX_DEPTH} delegations`)
  if (to === from || chain.some((hop) => hop.from === to)) throw invalid(['to'], `"${to}" is in the chain already`)
  assertLife(services, expiresIn)
  for (const agent of [...chain.map((hop) => hop.from), from]) await activeAgentOf(services, agent)
  const delegation: DelegationRecord = {
    id: `delegation_${randomBytes(12).toString('hex')}`,
    from,
    to,
    actions,
    ...(parent === undefined ? {} : { parent }),
    depth: chain.length + 1,
    ...(reason === undefined ? {} : { reason }),
    createdAt,
    expiresAt: Math.min(createdAt + expiresIn, last?.expiresAt ?? Number.POSITIVE_INFINITY),
  }
  return [...chain, delegation]
}

async function liveChainTo(services: Services, id: string, now: number): Promise<DelegationRecord[]> {
  const chain: DelegationRecord[] = []
  for (let at: string | undefined = id; at !== undefined && chain.length < MAX_DEPTH; ) {
    const hop: DelegationRecord = await delegationOf(services, at)
    if (hop.revokedAt !== undefined) throw conflict(`The delegation "${hop.id}" was revoked`)
    if (hop.expiresAt <= now) throw conflict(`The delegation "${hop.id}" has expired`)
    chain.unshift(hop)
    at = hop.parent
  }
  return chain
}

/** @throws RequestError 404. */
async function delegationOf({ store }: Services, id: string): Promise<DelegationRecord> {
  const delegation = await store.delegations.get(id)
  if (delegation === undefined) throw notFound(`There is no delegation "${id}"`)
  return delegation
}

/** The agents that hold a delegation, or one that extends it. */
function heldThrough(id: string, all: readonly DelegationRecord[]): Set<string> {
  const holders = new Set<string>()
  const ids = [id]
  for (const at of ids) {
    for (const one of all) {
      if (one.id === at) holders.add(one.to)
      if (one.parent === at) ids.push(one.id)
    }
  }
  return holders
}

function delegationView({ createdAt, expiresAt, revokedAt, ...delegation }: DelegationRecord) {
  return {
    ...delegation,
    createdAt: isoTime(createdAt),
    expiresAt: isoTime(expiresAt),
    ...(revokedAt === undefined ? {} : { revokedAt: isoTime(revokedAt) }),
  }
}
