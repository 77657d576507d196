import fc from 'fast-check'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { startGateway, type World } from './gateway-world.js'

const RUNS = Number(process.env['MESHGUARD_RUNS'] ?? 600)
const options = { numRuns: RUNS, interruptAfterTimeLimit: 4000 * Math.max(1, RUNS / 600) }

interface Operation {
  readonly method: string
  readonly path: string
  readonly hasBody: boolean
}

let world: World
let credentials: Record<string, Record<string, string>>
let operations: readonly Operation[]
/** What members of bodies and parameters are called anywhere. */
let names: readonly string[]

beforeAll(async () => {
  world = await startGateway()
  const service = await world.createService('decide', 'audit:write', 'audit:read', 'bundle')
  const { token } = await world.createAgent({ id: 'agent-1' })
  credentials = {
    admin: { 'x-admin-token': world.adminToken },
    proxy: { authorization: `Bearer ${token}`, 'x-meshguard-action': 'read:x' },
    others: { authorization: `Bearer ${service}` },
  }
  const document = (await (await world.fetch('/openapi.json')).json()) as { paths: Record<string, Record<string, object>> }
  operations = Object.entries(document.paths)
    // Streams do not end, and a new key is written with every rotation.
    .filter(([path]) => !/stream$|rotate$|^\/api\//.test(path))
    .flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => ({
        method: method.toUpperCase(),
        path,
        hasBody: 'requestBody' in operation,
      })),
    )
    .filter(({ method }) => ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'].includes(method))
  names = [...new Set(namesIn(document))]
})
afterAll(() => world.close())

/** The names of members in schemas. */
function namesIn(value: unknown): string[] {
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([key, one]) => [...(key === 'properties' ? Object.keys(one) : []), ...namesIn(one)])
}

const odd = fc.constantFrom<unknown>(
  ...[null, true, 0, -1, 1.5, 1e308, '', 'x', '24h', 'read:*', 'a:b', 'agent-1', '2026-01-01T00:00:00Z', '\u0000', 'a\nb'],
  ...['\ud800', '__proto__', 'é'.repeat(300), 'x'.repeat(3000), [], {}, [null], [[]], { '': '' }, ['read:*']],
)

it('whatever is sent to whatever operation, the answer is none of a failure, and a refusal says what is wrong', async () => {
  expect(names).toEqual(expect.arrayContaining(['trustTier', 'actions', 'evaluations', 'expiresIn']))
  expect(operations.length).toBeGreaterThan(25)
  const name = fc.nat().map((n) => names[n % names.length] as string)
  const member = fc.tuple(
    name,
    fc.oneof({ depthSize: 'small' }, odd, fc.dictionary(name, odd), fc.array(fc.dictionary(name, odd))),
  )
  const body = fc.oneof(odd, fc.array(member, { maxLength: 6 }).map(Object.fromEntries))
  const query = fc.array(fc.tuple(name, odd), { maxLength: 3 })
  await fc.assert(
    fc.asyncProperty(fc.nat(), body, query, odd, async (nr, sent, parameters, parameter) => {
      const { method, path, hasBody } = operations[nr % operations.length] as Operation
      const encoded = encodeURIComponent(String(parameter).toWellFormed()).slice(0, 900) || 'agent-1'
      const search = new URLSearchParams(parameters.map(([key, value]) => [key, String(value).toWellFormed().slice(0, 500)]))
      const [, first = ''] = path.split('/')
      const answer = await world.fetch(`${path.replace(/\{\w+\}/g, encoded)}?${search}`, {
        method,
        headers: { ...(credentials[first] ?? credentials['others']), 'content-type': 'application/json' },
        ...(hasBody && { body: JSON.stringify(sent) }),
      })
      const text = await answer.text()
      expect(answer.status, `${method} ${path} ${text}`).toBeLessThan(500)
      if (answer.status < 400) return
      expect(JSON.parse(text), `${method} ${path}`).toMatchObject({
        error: expect.stringMatching(/./),
        message: expect.stringMatching(/./),
        traceId: answer.headers.get('x-meshguard-trace-id'),
      })
    }),
    options,
  )
  expect(await world.services.audit.verify()).toMatchObject({ valid: true })
})
