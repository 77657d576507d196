import { randomBytes } from 'node:crypto'
import { type Context, Hono } from 'hono'
import { conflict, notFound } from '../http/errors.js'
import type { GatewayEnv, Services } from '../services.js'
import type { AgentChange, AgentRecord } from '../store/store.js'
import { agentChange, agentQuery, newAgent, tokenRequest } from './agent-schemas.js'
import { inTurn, record } from './changes.js'
import { isoTime } from './common-schemas.js'
import { invalid, readBodyWith, readOptionalBodyWith, readQueryWith } from './read-request.js'

/** Agents: who they are, their tokens, and their end. */
export function agentRoutes(services: Services): Hono<GatewayEnv> {
  const { store, keys, identity, bundles, now } = services
  const routes = new Hono<GatewayEnv>()

  routes.get('/', async (c) => {
    const { items, nextCursor } = await store.agents.list(readQueryWith(c, agentQuery))
    return c.json({ agents: items.map(agentView), nextCursor })
  })

  routes.post('/', async (c) => {
    const given = await readBodyWith(c, newAgent)
    const createdAt = now()
    const agent: AgentRecord = {
      id: `agent_${randomBytes(12).toString('hex')}`,
      ...given,
      status: 'active',
      generation: 0,
      createdAt,
      updatedAt: createdAt,
    }
    const { token } = await keys.mint(agent)
    await record(services, c, { action: 'admin:agents/create', resource: `agents/${agent.id}`, after: changeable(agent) })
    await store.agents.insert(agent)
    if (Object.keys(agent.metadata).length > 0) bundles.changed(agent.id)
    const { id, name, trustTier, tags } = agent
    return c.json({ id, name, trustTier, tags, token, createdAt: isoTime(createdAt) }, 201)
  })

  routes.get('/:id', async (c) => c.json(agentView(await agentOf(services, c.req.param('id')))))

  routes.patch('/:id', async (c) => {
    const change = await readBodyWith(c, agentChange)
    return inTurn(services, async () => {
      const before = await activeAgentOf(services, c.req.param('id'))
      if (Object.keys(change).length === 0) return c.json(agentView(before))
      await record(services, c, {
        action: 'admin:agents/update',
        resource: `agents/${before.id}`,
        before: changeable(before),
        after: changeable({ ...before, ...present(change) }),
      })
      return c.json(agentView(await update(before.id, present(change))))
    })
  })

  routes.delete('/:id', (c) =>
    inTurn(services, async () => {
      const before = await activeAgentOf(services, c.req.param('id'))
      await record(services, c, { action: 'admin:agents/revoke', resource: `agents/${before.id}`, before: changeable(before) })
      return c.json(agentView(await update(before.id, { status: 'revoked', revokedAt: now() })))
    }),
  )

  routes.post('/:id/token', async (c) => {
    const { expiresIn, revokePrevious } = await readOptionalBodyWith(c, tokenRequest)
    return inTurn(services, () => issueToken(c, c.req.param('id'), expiresIn, revokePrevious))
  })

  async function issueToken(c: Context<GatewayEnv>, id: string, expiresInMs: number | undefined, revokePrevious: boolean) {
    const agent = await activeAgentOf(services, id)
    if (expiresInMs !== undefined) assertLife(services, expiresInMs)
    const generation = agent.generation + (revokePrevious ? 1 : 0)
    const { token, expiresAt, jti } = await keys.mint(
      { ...agent, generation },
      expiresInMs === undefined ? {} : { expiresInMs },
    )
    const after = { jti, expiresAt: isoTime(expiresAt), revokePrevious }
    await record(services, c, { action: 'admin:agents/issue-token', resource: `agents/${id}`, after })
    if (revokePrevious) await update(id, { generation })
    return c.json({ token, expiresAt: isoTime(expiresAt) })
  }

  async function update(id: string, change: AgentChange): Promise<AgentRecord> {
    try {
      const after = await store.agents.update(id, change, now())
      if (after !== undefined) return after
    } finally {
      identity.forget(id)
      bundles.changed(id)
    }
    throw notFound(`There is no agent "${id}"`)
  }

  return routes
}

/** @throws ValidationError for a token that would live longer than this gateway verifies it. */
export function assertLife({ keys }: Services, expiresInMs: number): void {
  if (expiresInMs > keys.maxTokenAgeMs) throw invalid(['expiresIn'], `at most ${keys.maxTokenAgeMs / 1000} s`)
}

/** @throws RequestError 404. */
export async function agentOf({ store }: Services, id: string): Promise<AgentRecord> {
  const agent = await store.agents.get(id)
  if (agent === undefined) throw notFound(`There is no agent "${id}"`)
  return agent
}

/** @throws RequestError 404, 409 for one that was revoked. */
export async function activeAgentOf(services: Services, id: string): Promise<AgentRecord> {
  const agent = await agentOf(services, id)
  if (agent.status === 'revoked') throw conflict(`The agent "${id}" was revoked, which is for good: create a new one`)
  return agent
}

/** An agent as it is answered. */
function agentView({ generation, createdAt, updatedAt, revokedAt, lastSeenAt, ...agent }: AgentRecord) {
  return {
    ...agent,
    createdAt: isoTime(createdAt),
    updatedAt: isoTime(updatedAt),
    ...(revokedAt === undefined ? {} : { revokedAt: isoTime(revokedAt) }),
    ...(lastSeenAt === undefined ? {} : { lastSeenAt: isoTime(lastSeenAt) }),
  }
}

/** What an operator can change of an agent, for the record. */
function changeable({ name, trustTier, tags, metadata }: AgentRecord) {
  return { name, trustTier, tags, metadata }
}

function present<T extends object>(value: T): { [K in keyof T]-?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, one]) => one !== undefined)) as never
}
