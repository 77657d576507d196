/** What the runtimes are given to run is what Node runs. */
import { expect, it } from 'vitest'
import { bindings } from '../adapters/bindings.js'
import * as adapter from '../contracts/adapter.js'
import { agreementCases } from '../contracts/agreement.js'
import * as client from '../contracts/client.js'
import * as source from '../contracts/source.js'
import { bindBundle } from '../sources/bundle-binding.js'
import { gatewayCan, policiesCan } from '../sources/features.js'
import { lacks } from './lacks.js'
import { suitesFor } from './suites.js'

const never = () => Promise.reject(new Error('The cases run elsewhere'))
const entries = suitesFor({ name: 'Node', stage: '', serve: never, lacks: {} })
const titlesOf = (suite: string) => entries.filter((entry) => entry.suite === suite).map(({ title }) => title)
const titles = (themes: ReadonlyArray<readonly [string, ReadonlyArray<{ readonly title: string }>]>) =>
  themes.flatMap(([, cases]) => cases.map(({ title }) => title))
const sourceTitles = (name: string, features: source.Binding['features']) =>
  titles(source.casesFor({ name, features, open: never }))

it('every suite is there, and no case twice', () => {
  expect([...new Set(entries.map(({ suite }) => suite))]).toEqual([
    'Hono',
    'fromPolicies',
    'fromGateway by tokens',
    'fromGateway by tokens and a service',
    'fromGateway by ids',
    'fromBundle by tokens',
    'fromBundle by agents',
    'fromBundle by agents that the bundle knows',
    'the client',
  ])
  expect(new Set(entries.map(({ suite, title }) => `${suite}: ${title}`)).size).toBe(entries.length)
})

it('the adapter contract is that of Hono on Node', () => {
  expect(titlesOf('Hono')).toEqual(titles(adapter.casesFor(bindings.hono)))
})

it('the client contract is that of Node', () => {
  expect(titlesOf('the client')).toEqual(titles(Object.entries(client.themes)))
})

it('the source contract is that of Node, for every source', () => {
  expect(titlesOf('fromPolicies')).toEqual(sourceTitles('fromPolicies', policiesCan))
  for (const way of ['tokens', 'tokens and a service', 'ids'] as const) {
    expect(titlesOf(`fromGateway by ${way}`)).toEqual(sourceTitles(way, gatewayCan(way)))
  }
})

it('bundles decide by the contract, by the vectors and by random sets', () => {
  const agreement = agreementCases(20).map(({ title }) => title)
  expect(agreement).toContain('decides by 20 random sets as policies in process do')
  for (const way of ['tokens', 'agents', 'agents that the bundle knows'] as const) {
    const { name, features } = bindBundle(way, () => undefined)
    expect(titlesOf(name)).toEqual([...sourceTitles(name, features), ...agreement])
  }
})

it('what a runtime lacks is a feature of the contract, or the title of a case', () => {
  const known = new Set(['socket', 'any-method', ...entries.map(({ title }) => title)])
  const lacked = Object.values(lacks).flatMap((one) => Object.keys(one))
  expect(lacked.filter((one) => !known.has(one))).toEqual([])
})
