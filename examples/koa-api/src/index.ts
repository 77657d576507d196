/** A Koa application with nested routers, all of them guarded. */
import type { AddressInfo } from 'node:net'
import Router from '@koa/router'
import { agentTokens, auditToConsole, createGuard, fromPolicies, generateKeys, mintAgentToken } from '@meshguard/core'
import { agentOf, createProtect } from '@meshguard/koa'
import Koa from 'koa'

const { privateKey, publicKey } = await generateKeys()
const guard = createGuard({
  source: fromPolicies([
    { name: 'readers', rules: [{ effect: 'allow', actions: ['read:teams', 'read:teams/*'] }] },
    {
      name: 'own-team',
      rules: [{ effect: 'allow', actions: ['write:teams/members'], conditions: { resource: { matches: 'teams/red/*' } } }],
    },
  ]),
  authenticate: agentTokens({ publicKey }),
  audit: auditToConsole(),
})
const protect = createProtect(guard)
const app = protect(new Koa())

const members = new Router()
members.get('/', (ctx) => {
  ctx.body = { team: ctx.params['team'], members: ['ada', 'grace'] }
})
members.put('/:name', (ctx) => {
  ctx.body = { team: ctx.params['team'], added: ctx.params['name'], by: agentOf(ctx)?.id }
})

const router = new Router()
router.get('/health', protect.open('liveness probe'), (ctx) => {
  ctx.body = { status: 'ok' }
})
router.get('/teams', (ctx) => {
  ctx.body = { teams: ['red', 'blue'] }
})
router.delete('/teams/:team', protect('disband:teams'), (ctx) => {
  ctx.status = 204
})
router.use('/teams/:team/members', members.routes())

app.use(router.routes()).use(router.allowedMethods())
protect.verify(app)
console.table(protect.routes(app))

export const token = await mintAgentToken({ id: 'agent_koa', key: privateKey })
export const server = app.listen(Number(process.env['PORT'] ?? 3000), '127.0.0.1', () => {
  const { port } = server.address() as AddressInfo
  console.log(`curl -X PUT -H 'Authorization: Bearer ${token}' http://127.0.0.1:${port}/teams/red/members/hedy`)
})
