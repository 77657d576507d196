import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { defineConfig, type Plugin } from 'vitest/config'

const FRAMEWORKS = /^(@koa\/router|express|fastify|hono|koa)(\/|$)/

/** Lets the adapters' tests meet the oldest frameworks that the peer ranges admit (`npm run lower-bounds`). */
const lowerBounds: Plugin = {
  name: 'lower-bounds',
  enforce: 'pre',
  async resolveId(name) {
    return FRAMEWORKS.test(name) ? this.resolve(name, join(import.meta.dirname, 'test/lower-bounds/package.json')) : undefined
  },
}

export default defineConfig({
  plugins: process.env['MESHGUARD_LOWER_BOUNDS'] === undefined ? [] : [lowerBounds],
  ssr: { resolve: { conditions: ['meshguard:source', 'node'] } },
  resolve: { conditions: ['meshguard:source', 'node'] },
  test: {
    include: ['test/**/*.test.ts'],
    exclude: ['**/node_modules/**'],
    testTimeout: 20_000,
    hookTimeout: 30_000,
    // Vitest leaves one core free; many tests here wait for processes and sockets instead of using theirs.
    maxWorkers: Math.max(2, availableParallelism() - 1),
  },
})
