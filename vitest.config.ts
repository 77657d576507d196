import { defineConfig } from 'vitest/config'

export default defineConfig({
  ssr: { resolve: { conditions: ['meshguard:source', 'node', 'import', 'default'] } },
  resolve: { conditions: ['meshguard:source', 'node', 'import', 'default'] },
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 20_000,
    hookTimeout: 30_000,
  },
})
