/**
 * What stands in Node beside a runtime: scripted gateways, and real ones whose policies, agents and clock are changed for each
 * case. All of it is asked for over HTTP, so that a case can do so from within any runtime.
 */
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createAdaptorServer } from '@hono/node-server'
import type { Agent, PolicyDocument } from '@meshguard/core'
import { Hono } from 'hono'
import { startTold } from '../client/scripted.js'
import type { Reply, Scripted } from '../contracts/client.js'
import type { Setup, SourceWorld } from '../contracts/source.js'
import { bindGateway } from '../sources/bindings.js'
import type { Way } from '../sources/features.js'

/** How a source is told who asks, by the agents' ids. */
export type Who = Readonly<Record<string, ReturnType<SourceWorld['as']>>>

export interface Stage {
  readonly url: string
  close(): Promise<void>
}

/** Starts it on a loopback port. Its gateways start when they are first asked for, with the clock of this process. */
export async function startStage(): Promise<Stage> {
  const scripts = scripted()
  const sources = gateways()
  const app = new Hono().route('/scripted', scripts.app).route('/gateways', sources.app)
  const server = createAdaptorServer({ fetch: app.fetch }) as Server
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      server.closeAllConnections()
      server.close()
      await scripts.close()
      await sources.close()
    },
  }
}

function scripted() {
  const open = new Map<string, Scripted>()
  const one = (id: string): Scripted => {
    const found = open.get(id)
    if (found === undefined) throw new Error(`There is no scripted gateway ${id}`)
    return found
  }
  let count = 0
  const app = new Hono()
    .post('/', async (c) => {
      const id = String(++count)
      const started = await startTold()
      open.set(id, started)
      return c.json({ id, url: started.url })
    })
    .put('/:id', async (c) => {
      await one(c.req.param('id')).answer(...((await c.req.json()) as Reply[]))
      return c.json({})
    })
    .get('/:id', async (c) => c.json(await one(c.req.param('id')).received()))
    .delete('/:id', async (c) => {
      const id = c.req.param('id')
      await one(id).close()
      open.delete(id)
      return c.json({})
    })
  return {
    app,
    async close() {
      for (const script of open.values()) await script.close()
    },
  }
}

function gateways() {
  const bound = new Map<string, ReturnType<typeof bindGateway>>()
  const worlds = new Map<string, { world: SourceWorld; agents: readonly Agent[] }>()
  const whoOf = ({ world, agents }: { world: SourceWorld; agents: readonly Agent[] }): Who =>
    Object.fromEntries(agents.map((agent) => [agent.id, world.as(agent)]))
  const at = (way: string) => {
    const found = worlds.get(way)
    if (found === undefined) throw new Error(`The gateway "${way}" has no policies yet`)
    return found
  }
  const app = new Hono()
    .post('/:way', async (c) => {
      const way = c.req.param('way')
      const binding = bound.get(way) ?? bindGateway(way as Way)
      bound.set(way, binding)
      const { url, service, open } = await binding
      const setup: Setup = await c.req.json()
      const opened = { world: await open(setup), agents: setup.agents }
      worlds.set(way, opened)
      return c.json({ url, service, who: whoOf(opened) })
    })
    .put('/:way/clock', async (c) => {
      const opened = at(c.req.param('way'))
      await opened.world.moveTo(((await c.req.json()) as { now: number }).now)
      return c.json({ who: whoOf(opened) })
    })
    .put('/:way/policies', async (c) => {
      await at(c.req.param('way')).world.replace((await c.req.json()) as PolicyDocument[])
      return c.json({})
    })
  return {
    app,
    async close() {
      for (const binding of bound.values()) await (await binding).close()
    },
  }
}
