/** Runs in Deno: every contract, with Hono served by Deno itself. The stage is the first argument. */
import type { Hono } from 'hono'
import { speakTo } from '../adapters/sockets.js'
import { lacks } from './lacks.js'
import { loop } from './loop.js'

declare const Deno: {
  readonly args: readonly string[]
  serve(
    options: { hostname: string; port: number; onListen(): void },
    fetch: Hono['fetch'],
  ): { readonly addr: { readonly port: number }; shutdown(): Promise<void> }
}

await loop({
  name: 'Deno',
  stage: Deno.args[0] ?? '',
  lacks: lacks.deno,
  async serve(app) {
    const server = Deno.serve({ hostname: '127.0.0.1', port: 0, onListen() {} }, (app as Hono).fetch)
    return speakTo(server.addr.port, () => server.shutdown())
  },
})
process.exit()
