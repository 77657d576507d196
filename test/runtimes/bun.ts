/** Runs in Bun: every contract, with Hono served by Bun itself. The stage is the first argument. */
import type { Hono } from 'hono'
import { speakTo } from '../adapters/sockets.js'
import { lacks } from './lacks.js'
import { loop } from './loop.js'

declare const Bun: {
  serve(options: { hostname: string; port: number; fetch: Hono['fetch'] }): {
    port: number
    stop(force: boolean): Promise<void>
  }
}

await loop({
  name: 'Bun',
  stage: process.argv[2] ?? '',
  lacks: lacks.bun,
  async serve(app) {
    const server = Bun.serve({ hostname: '127.0.0.1', port: 0, fetch: (app as Hono).fetch })
    return speakTo(server.port, () => server.stop(true))
  },
})
process.exit()
