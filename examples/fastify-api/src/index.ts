/** A Fastify application with a plugin; one route asks the policies about the amount in its body. */
import { agentTokens, auditToConsole, createGuard, fromPolicies, generateKeys, mintAgentToken } from '@meshguard/core'
import { createProtect, decisionOf } from '@meshguard/fastify'
import Fastify from 'fastify'

const { privateKey, publicKey } = await generateKeys()
const guard = createGuard({
  source: fromPolicies([
    { name: 'readers', rules: [{ effect: 'allow', actions: ['read:invoices'] }] },
    {
      name: 'small-payments',
      rules: [{ effect: 'allow', actions: ['pay:invoices'], conditions: { 'context.amount': { gt: 0, lte: 100 } } }],
    },
  ]),
  authenticate: agentTokens({ publicKey }),
  audit: auditToConsole(),
})
const protect = createProtect(guard)
const app = protect(Fastify({ requestTimeout: 30_000 }))

app.get('/health', { onRequest: protect.open('liveness probe') }, async () => ({ status: 'ok' }))

app.register(
  async (invoices) => {
    invoices.get('/', async () => ({ invoices: [{ id: 1, amount: 40 }] }))
    invoices.post<{ Params: { id: string }; Body: { amount: number } }>(
      '/:id/payments',
      {
        onRequest: protect('pay:invoices', {
          context: (request) => ({ amount: (request.body as { amount?: unknown } | undefined)?.amount }),
        }),
      },
      async (request) => ({ paid: request.body.amount, allowedBy: decisionOf(request)?.policy }),
    )
  },
  { prefix: '/invoices' },
)

await app.ready()
protect.verify(app)
console.table(protect.routes(app))

export const token = await mintAgentToken({ id: 'agent_fastify', key: privateKey })
export const origin = await app.listen({ port: Number(process.env['PORT'] ?? 3000), host: '127.0.0.1' })
export { app }

console.log(
  `curl -X POST -H 'Authorization: Bearer ${token}' -H 'Content-Type: application/json' -d '{"amount":40}' ${origin}/invoices/1/payments`,
)
