import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startGateway, type World } from './gateway-world.js'

describe('A gateway', () => {
  let world: World
  beforeAll(async () => {
    world = await startGateway()
  })
  afterAll(() => world.close())

  test('says what it is', async () => {
    const answer = await world.fetch('/')
    expect(answer.status).toBe(200)
    expect(await answer.json()).toEqual({
      name: 'MeshGuard Gateway',
      version: '0.1.0',
      mode: 'enforce',
      docs: '/openapi.json',
    })
  })

  test('says how it is', async () => {
    const answer = await world.fetch('/health')
    expect(answer.status).toBe(200)
    expect(await answer.json()).toMatchObject({
      status: 'healthy',
      version: '0.1.0',
      mode: 'enforce',
      checks: { database: 'ok', policies: 'ok' },
    })
  })
})
