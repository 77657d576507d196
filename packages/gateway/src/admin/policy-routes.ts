import {
  type Agent,
  createGuard,
  createPolicies,
  fromPolicies,
  type PolicyDocument,
  parsePolicy,
  ValidationError,
} from '@meshguard/core'
import { type Context, Hono } from 'hono'
import type { z } from 'zod'
import { notFound } from '../http/errors.js'
import type { GatewayEnv, ListedPolicy, Services } from '../services.js'
import { activeAgentOf } from './agent-routes.js'
import { inTurn, record } from './changes.js'
import { isoTime } from './common-schemas.js'
import { etagOf, revisionFor } from './if-match.js'
import { policyTest } from './policy-schemas.js'
import { documentIn, issueView, policiesIn, readPolicyText } from './policy-text.js'
import { invalid, readBodyWith } from './read-request.js'

/** The policies of the folder, to look at, and those of the API, to change. */
export function policyRoutes(services: Services): Hono<GatewayEnv> {
  const { policies } = services
  const routes = new Hono<GatewayEnv>()

  routes.get('/', async (c) => {
    const problem = policies.problem()
    return c.json({ policies: (await policies.list()).map(policyView), problem })
  })

  routes.post('/validate', async (c) => {
    const sent = await readPolicyText(c)
    try {
      policiesIn(sent)
      return c.json({ valid: true, issues: [] })
    } catch (error) {
      if (!(error instanceof ValidationError)) throw error
      return c.json({ valid: false, issues: error.issues.map(issueView) })
    }
  })

  routes.post('/test', async (c) => c.json(await explain(services, c, await readBodyWith(c, policyTest))))

  routes.get('/:name', async (c) => {
    const policy = await policyOf(services, c.req.param('name'))
    return c.json(policyView(policy), 200, etagOf(policy))
  })

  routes.put('/:name', async (c) => {
    const name = c.req.param('name')
    const document = documentIn(await readPolicyText(c))
    if (document.name !== name) throw invalid(['name'], `is "${document.name}", and the path says "${name}"`)
    return inTurn(services, async () => {
      const before = await policies.get(name)
      const ifRevision = await admit(services, c, { name, before, after: document })
      const after = await policies.put(document, ifRevision)
      return c.json(policyView(after), before === undefined ? 201 : 200, etagOf(after))
    })
  })

  routes.delete('/:name', (c) =>
    inTurn(services, async () => {
      const name = c.req.param('name')
      const before = await policyOf(services, name)
      const ifRevision = await admit(services, c, { name, before })
      await policies.delete(name, ifRevision)
      return c.body(null, 204)
    }),
  )

  return routes
}

async function policyOf({ policies }: Services, name: string): Promise<ListedPolicy> {
  const policy = await policies.get(name)
  if (policy === undefined) throw notFound(`There is no policy "${name}"`)
  return policy
}

/** Checks what a change presupposes, and records it. One of a file is left for the registry to refuse. */
async function admit(
  services: Services,
  c: Context<GatewayEnv>,
  { name, before, after }: { name: string; before: ListedPolicy | undefined; after?: PolicyDocument },
): Promise<number | undefined> {
  if (before?.origin === 'file') return undefined
  const ifRevision = revisionFor(c.req.raw.headers, name, before)
  const action = after === undefined ? 'admin:policies/delete' : 'admin:policies/put'
  await record(services, c, { action, resource: `policies/${name}`, before: before?.document, after })
  return ifRevision
}

function policyView({ document, origin, revision, updatedAt, shadowed }: ListedPolicy) {
  return { ...document, origin, revision, updatedAt: isoTime(updatedAt), shadowed }
}

/** Asks the policies without consequences, whatever the mode of the gateway: nothing is counted and nothing recorded. */
async function explain(services: Services, c: Context<GatewayEnv>, test: z.output<typeof policyTest>) {
  const { action, resource, context } = test
  const agent = typeof test.agent === 'string' ? await agentNamed(services, test.agent) : { id: UNNAMED, ...test.agent }
  const asked = test.policy === undefined ? undefined : parsePolicy((await policyOf(services, test.policy)).document)
  const guard = createGuard({ source: fromPolicies(asked === undefined ? services.policies : createPolicies([asked])) })
  try {
    return await guard.explain(action, { agent, resource, context, traceId: c.get('traceId') })
  } finally {
    await guard.close()
  }
}

/** Stands for an agent that is only described; no policy names it. */
const UNNAMED = 'described-by-the-test'

async function agentNamed(services: Services, id: string): Promise<Agent> {
  const { name, trustTier, tags, metadata } = await activeAgentOf(services, id)
  return { id, name, trustTier, tags, metadata }
}
