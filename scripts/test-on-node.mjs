/**
 * Runs the contracts that real servers take part in on other versions of Node, which come from npm:
 *
 *   npm run nodes              on 24
 *   npm run nodes -- 20 22 24 26
 */
import { spawnSync } from 'node:child_process'

const TESTS = ['adapters', 'vectors', 'loader', 'tokens', 'stores', 'sources', 'client'].map((name) => `test/${name}`)
const versions = process.argv.slice(2)

for (const version of versions.length > 0 ? versions : ['24']) {
  const command = `node --version && node node_modules/vitest/vitest.mjs run ${TESTS.join(' ')}`
  console.log(`\nNode ${version}`)
  const { status } = spawnSync('npx', ['--yes', '--package', `node@${version}`, '--call', command], { stdio: 'inherit' })
  if (status !== 0) {
    console.error(`The contracts do not pass on Node ${version}.`)
    process.exit(1)
  }
}
