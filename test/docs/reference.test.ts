import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { expect, it } from 'vitest'
import { countLosses, createMetrics } from '../../packages/gateway/src/metrics.js'
import { openApiDocument } from '../../packages/gateway/src/openapi/document.js'
import { SETTINGS } from '../../packages/gateway/src/settings.js'

const page = readFileSync(join(resolve(import.meta.dirname, '../..'), 'docs/operating-the-gateway.md'), 'utf8')

/** What stands between backticks in the first column of the tables of a section. */
function firstColumn(heading: string): string[] {
  const [, section = ''] = page.split(`${heading}\n`)
  const rows = (section.split('\n#')[0] ?? '').split('\n').filter((line) => line.startsWith('| '))
  return rows.flatMap((row) => [...(row.split('|')[1] ?? '').matchAll(/`([^`]+)`/g)].map(([, name]) => name as string)).sort()
}

it('names every variable that the gateway reads, once, and no other', () => {
  const others = ['DB_PATH', 'PROXY_ROUTES'] // another spelling, and a file
  const read = [...Object.values(SETTINGS).map(({ variable }) => variable), ...others].sort()
  const listed = firstColumn('## Settings').flatMap((name) => name.split(', '))
  expect([...listed, 'DB_PATH'].sort()).toEqual(read)
})

it('names every metric, once, and no other', async () => {
  const metrics = createMetrics()
  countLosses(metrics, { dropped: { allowed: 0, denied: 0 } } as never)
  const counted = (await metrics.registry.getMetricsAsJSON()).map(({ name }) => name)
  expect(firstColumn('### Metrics')).toEqual(counted.sort())
})

it('names every route, once, and no other', () => {
  const paths = firstColumn('## What it answers').map((name) => name.replace(/^[A-Z]+ /, ''))
  expect(paths.sort()).toEqual(Object.keys(openApiDocument()['paths'] as object).sort())
})
