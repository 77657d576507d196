import type { Decision } from '@meshguard/core'
import { type Context, Hono } from 'hono'
import { z } from 'zod'
import { readBodyWith } from '../admin/read-request.js'
import { answerOf, refusalAnswer } from '../checks/decision-answer.js'
import { statementOf } from '../checks/statement.js'
import { badRequest } from '../http/errors.js'
import type { GatewayEnv } from '../services.js'
import { VERSION } from '../version.js'
import { type Caller, callerOf } from './caller.js'
import type { GuardianParts } from './guardian-parts.js'
import { TokenOwners } from './token-owners.js'

const CHECK = '/proxy/check'
const MAX_BODY = 64 * 1024
const MAX_BATCH_BODY = 1024 * 1024

const question = z.strictObject({
  agentId: z.string().optional(),
  action: z.string(),
  resource: z.string().max(2048).optional(),
  context: z.record(z.string(), z.unknown()).optional(),
})
const batch = z.strictObject({ checks: z.array(question).min(1).max(64) })

type Question = z.output<typeof question>

/** `/proxy/check`, `/enforce`, `/enforce/batch`, `/health` and `/`. */
export function guardianRoutes(parts: GuardianParts): Hono<GatewayEnv> {
  const { guard, source } = parts
  const owners = new TokenOwners(guard)
  const startedAt = Date.now()
  const routes = new Hono<GatewayEnv>()

  routes.get(CHECK, async (c) => {
    const { headers, url } = c.env.incoming
    if (url !== CHECK) throw badRequest(`The path of a check is exactly ${CHECK}, without a query`)
    const caller = callerOf(parts, headers)
    const { action, resource, context } = statementOf(headers)
    if (action === undefined) {
      throw badRequest('X-MeshGuard-Action is required', [{ path: 'X-MeshGuard-Action', message: 'is required' }])
    }
    const decision = await guard.check(action, { token: caller.token, resource, context, traceId: c.var.traceId })
    const { status, headers: answered, body } = answerOf(decision, caller.sentToken, headers.accept)
    return new Response(body, { status, headers: answered })
  })

  routes.post('/enforce', async (c) => {
    const startedAt = performance.now()
    const caller = callerOf(parts, c.env.incoming.headers)
    const [decision] = await decide(c, caller, [await readBodyWith(c, question, { limit: MAX_BODY })])
    return refusalOf(c, decision, caller) ?? c.json({ ...resultOf(decision, startedAt), ...stateOf() })
  })

  routes.post('/enforce/batch', async (c) => {
    const startedAt = performance.now()
    const caller = callerOf(parts, c.env.incoming.headers)
    const { checks } = await readBodyWith(c, batch, { limit: MAX_BATCH_BODY })
    const decisions = await decide(c, caller, checks)
    const refused = decisions.every(({ code }) => NO_DECISION.has(code)) ? refusalOf(c, decisions[0], caller) : undefined
    if (refused !== undefined) return refused
    const results = decisions.map((decision) => resultOf(decision, startedAt))
    return c.json({ results, allAllowed: decisions.every(({ allowed }) => allowed), ...stateOf() })
  })

  routes.get('/health', (c) => {
    const { bundle } = source
    const isGood = bundle?.isGood === true
    const health = {
      status: isGood ? 'healthy' : 'degraded',
      timestamp: new Date().toISOString(),
      version: VERSION,
      mode: guard.mode,
      uptimeSeconds: Math.floor((Date.now() - startedAt) / 1000),
      checks: { bundle: isGood ? 'ok' : 'failing' },
      bundle: bundle && {
        version: bundle.version,
        issuedAt: new Date(bundle.issuedAt).toISOString(),
        expiresAt: new Date(bundle.expiresAt).toISOString(),
        policyVersion: bundle.policyVersion,
      },
      auditDropped: parts.losses(),
    }
    return c.json(health, isGood ? 200 : 503)
  })

  routes.get('/', (c) => c.json({ name: 'MeshGuard Guardian', version: VERSION, mode: guard.mode }))

  /** The decisions on all questions, on one policy version, each recorded. What is asked for another agent is refused. */
  async function decide(
    c: Context<GatewayEnv>,
    { token }: Caller,
    questions: readonly Question[],
  ): Promise<[Decision, ...Decision[]]> {
    const { traceId } = c.var
    const isNamed = questions.some(({ agentId }) => agentId !== undefined)
    const owner = isNamed && token !== undefined ? await owners.ownerOf(token) : undefined
    const isOfAnother = ({ agentId }: Question, by = owner) => agentId !== undefined && by !== undefined && agentId !== by
    const own = questions.filter((one) => !isOfAnother(one))
    const decided = (own.length === 0 ? [] : await guard.checkMany(own, { token, traceId })).values()
    return questions.map((one) => {
      const { action, resource } = one
      // Who has no known owner may have been found to be somebody since.
      const decision = isOfAnother(one) ? undefined : (decided.next().value as Decision)
      if (decision !== undefined && !isOfAnother(one, decision.agentId)) return decision
      return guard.refuse({ action, resource, traceId }, 'unauthenticated', 'The token is for another agent')
    }) as [Decision, ...Decision[]]
  }

  function stateOf(): object {
    return { bundleVersion: source.bundle?.version ?? null, mode: guard.mode }
  }

  return routes
}

/** What is no decision on a policy, and is answered with the status that it has everywhere. */
const NO_DECISION: ReadonlySet<Decision['code']> = new Set(['unauthenticated', 'unavailable', 'invalid_action'])

function refusalOf(c: Context<GatewayEnv>, decision: Decision, { sentToken }: Caller): Response | undefined {
  if (decision.allowed || !NO_DECISION.has(decision.code)) return undefined
  const { status, headers, body } = refusalAnswer(decision, sentToken, c.req.header('accept'))
  return new Response(body, { status, headers })
}

function resultOf(decision: Decision, startedAt: number): object {
  const { allowed, code, policy = null, rule = null, reason, retryAfter, traceId } = decision
  return {
    decision: allowed ? 'allow' : 'deny',
    // In audit mode the policies' own word.
    ...(allowed && decision.decision === 'deny' && { audit: 'deny' }),
    code,
    policy,
    rule,
    ...(reason !== undefined && { reason }),
    ...(retryAfter !== undefined && { retryAfter }),
    traceId,
    latencyMs: Math.round((performance.now() - startedAt) * 1000) / 1000,
  }
}
