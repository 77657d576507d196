import { afterEach, describe, expect, test } from 'vitest'
import { createMetrics } from '../../packages/gateway/src/metrics.js'
import { startGateway, type World, type WorldOptions } from './gateway-world.js'

let worlds: World[] = []
afterEach(async () => {
  for (const world of worlds) await world.close()
  worlds = []
})
const start = async (options?: WorldOptions): Promise<World> => {
  const world = await startGateway(options)
  worlds.push(world)
  return world
}
const metricsOf = async (world: World, headers: Record<string, string> = {}) => world.fetch('/metrics', { headers })
const sampleOf = (text: string, line: string) =>
  Number(new RegExp(`^${line.replace(/[{}]/g, '\\$&')} (\\S+)$`, 'm').exec(text)?.[1])

describe('/metrics', () => {
  test('counts what was decided, by decision and code, and the commits of the audit log', async () => {
    const world = await start()
    const { token } = await world.createAgent()
    const check = (action: string) =>
      world.fetch('/proxy/check', { headers: { authorization: `Bearer ${token}`, 'x-meshguard-action': action } })
    for (const action of ['read:a', 'read:b', 'write:a', 'read:admin']) await check(action)
    const answer = await metricsOf(world)
    expect(answer.headers.get('content-type')).toContain('text/plain; version=0.0.4')
    const text = await answer.text()
    expect(sampleOf(text, 'meshguard_decisions_total{decision="allow",code="allowed"}')).toBe(2)
    expect(sampleOf(text, 'meshguard_decisions_total{decision="deny",code="no_match"}')).toBe(1)
    expect(sampleOf(text, 'meshguard_decisions_total{decision="deny",code="denied"}')).toBe(1)
    expect(sampleOf(text, 'meshguard_decision_seconds_count')).toBe(4)
    expect(sampleOf(text, 'meshguard_audit_entries_total')).toBe(4)
    expect(sampleOf(text, 'meshguard_audit_commit_seconds_count')).toBeGreaterThan(0)
    expect(sampleOf(text, 'meshguard_audit_dropped_total{decision="allow"}')).toBe(0)
    expect(sampleOf(text, 'process_resident_memory_bytes')).toBeGreaterThan(1e6)
  })

  test('of one gateway does not count what another one does', async () => {
    const [one, other] = [await start(), await start()]
    const { token } = await one.createAgent()
    await one.fetch('/proxy/check', { headers: { authorization: `Bearer ${token}`, 'x-meshguard-action': 'read:a' } })
    expect(await (await metricsOf(other)).text()).not.toContain('meshguard_decisions_total{')
  })

  test('is for this machine, and not for who comes through a proxy on it', async () => {
    const world = await start()
    expect((await metricsOf(world)).status).toBe(200)
    for (const name of ['x-forwarded-for', 'forwarded', 'via']) {
      expect((await metricsOf(world, { [name]: '1.2.3.4' })).status, name).toBe(401)
    }
  })

  test('is for services with audit:read from anywhere', async () => {
    const world = await start({ trustedProxies: ['127.0.0.1'] })
    const far = { 'x-forwarded-for': '1.2.3.4' }
    const [reader, decider] = [await world.createService('audit:read'), await world.createService('decide')]
    expect((await metricsOf(world, { ...far, authorization: `Bearer ${reader}` })).status).toBe(200)
    expect((await metricsOf(world, { ...far, authorization: `Bearer ${decider}` })).status).toBe(403)
    expect((await metricsOf(world, { ...far, authorization: 'Bearer msvc_guess' })).status).toBe(401)
  })
})

test('A status that is none is not counted', async () => {
  const metrics = createMetrics()
  for (const status of [200, 204, 502, 0, 999]) metrics.proxied(status, 0.01)
  const text = await metrics.registry.metrics()
  expect(sampleOf(text, 'meshguard_proxy_seconds_count{status="2xx"}')).toBe(2)
  expect(sampleOf(text, 'meshguard_proxy_seconds_count{status="5xx"}')).toBe(1)
})
