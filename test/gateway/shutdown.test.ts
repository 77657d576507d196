import { connect, createServer } from 'node:net'
import { createGateway } from '@meshguard/gateway'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { ADMIN_TOKEN, startGateway, type World, type WorldOptions } from './gateway-world.js'

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
const isListening = (port: number) =>
  new Promise<boolean>((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy()
      resolve(true)
    })
    socket.on('error', () => resolve(false))
  })

describe('A gateway that closes', () => {
  test('finishes what runs, takes nothing new, and has its audit log written', async () => {
    const world = await start()
    const { token } = await world.createAgent()
    const { audit } = world.services
    const append = audit.append.bind(audit)
    let go: (() => void) | undefined
    const held = new Promise<void>((resolve) => {
      go = resolve
    })
    const slow = vi.spyOn(audit, 'append').mockImplementationOnce(async (entry) => {
      await held
      return append(entry)
    })
    const headers = { authorization: `Bearer ${token}`, 'x-meshguard-action': 'read:a' }
    const running = world.fetch('/proxy/check', { headers })
    await vi.waitFor(() => expect(slow).toHaveBeenCalled())
    const closing = world.gateway.close()
    await vi.waitFor(async () => expect(await isListening(world.port)).toBe(false))
    go?.()
    const answer = await running
    expect(answer.status).toBe(200)
    await closing

    const { dataDir, databaseUrl, signingKeyFile } = world.gateway.config
    const again = await start({ dataDir, databaseUrl, signingKeyFile })
    const { items } = await again.services.audit.query({})
    expect(items.map(({ action }) => action)).toEqual(['read:a'])
    expect(await again.services.audit.verify()).toMatchObject({ valid: true })
  })

  test('closes connections that are idle', async () => {
    const world = await start()
    const socket = connect(world.port, '127.0.0.1')
    const answered = new Promise<void>((resolve) => socket.once('data', () => resolve()))
    const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
    socket.write('GET /health HTTP/1.1\r\nHost: x\r\n\r\n')
    await answered
    await world.gateway.close()
    await closed
  })

  test('closes connections on which nothing was sent yet', async () => {
    const world = await start()
    const socket = connect(world.port, '127.0.0.1')
    const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
    await new Promise<void>((resolve) => socket.once('connect', () => resolve()))
    await (await world.fetch('/health')).text()
    await world.gateway.close()
    await closed
  })

  test('tells event streams that it does, and does not wait for them', async () => {
    const world = await start()
    const answer = await world.admin('GET', '/admin/audit/stream')
    expect(answer.status).toBe(200)
    const reading = answer.text().catch(() => 'cut off')
    await world.gateway.close()
    expect(await reading).not.toBe('cut off')
    expect(world.services.closing.aborted).toBe(true)
  })

  test('is closed once, however often it is asked', async () => {
    const world = await start()
    const close = vi.spyOn(world.services.store, 'close')
    const [one, other] = [world.gateway.close(), world.gateway.close()]
    expect(one).toBe(other)
    await one
    await world.gateway[Symbol.asyncDispose]()
    expect(close).toHaveBeenCalledTimes(1)
  })

  test('closes the rest although a part fails, and says that it did', async () => {
    const world = await start()
    const { audit, store } = world.services
    const auditClose = audit.close.bind(audit)
    vi.spyOn(audit, 'close').mockImplementation(async () => {
      await auditClose()
      throw new Error('the disk is full')
    })
    const storeClose = vi.spyOn(store, 'close')
    await expect(world.gateway.close()).rejects.toThrow('the disk is full')
    expect(storeClose).toHaveBeenCalled()
    worlds = []
  })

  test('may never have listened', async () => {
    const world = await start()
    const { dataDir } = world.gateway.config
    await world.gateway.close()
    const gateway = await createGateway({ dataDir, adminToken: ADMIN_TOKEN, logLevel: 'silent' })
    await gateway.close()
  })
})

describe('A gateway that cannot start', () => {
  test('says which port is taken, and can be closed', async () => {
    const world = await start()
    const taken = createServer()
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve))
    const { port } = taken.address() as { port: number }
    const { dataDir } = world.gateway.config
    await world.gateway.close()
    const gateway = await createGateway({ port, dataDir, adminToken: ADMIN_TOKEN, logLevel: 'silent' })
    await expect(gateway.listen()).rejects.toMatchObject({ code: 'EADDRINUSE', port })
    await gateway.close()
    taken.close()
  })

  test('because of its policies says so, and leaves the database closed', async () => {
    const world = await start()
    const { dataDir } = world.gateway.config
    await world.gateway.close()
    const options = { dataDir, adminToken: ADMIN_TOKEN, logLevel: 'silent', policiesDir: '/no/such/folder' }
    await expect(createGateway(options)).rejects.toThrow('/no/such/folder')
    const again = await start({ dataDir })
    expect((await again.fetch('/health')).status).toBe(200)
  })
})
