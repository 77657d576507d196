/** What the sources can do, wherever they run. */
import type { Feature } from '../contracts/source.js'

/** How a gateway is asked: with the agents' tokens alone, with a service token as well, or by the agents' ids. */
export type Way = 'tokens' | 'tokens and a service' | 'ids'

export const policiesCan: ReadonlySet<Feature> = new Set([
  'explain',
  'many',
  'request',
  'any-text',
  'any-tier',
  'synchronous',
] as const)

const together: readonly Feature[] = ['many', 'request', 'any-text']

export function gatewayCan(way: Way): ReadonlySet<Feature> {
  const more: readonly Feature[] = way === 'tokens' ? [] : way === 'ids' ? [...together, 'any-tier'] : together
  return new Set<Feature>(['tokens', ...more])
}
