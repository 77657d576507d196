import { readFileSync } from 'node:fs'
import type { PolicyDocument } from '@meshguard/core'
import type { Framework } from '../adapters/bindings.js'

/** A request that must not get past a guard, and what must hold of it. */
export interface Vector {
  readonly id: string
  readonly class: string
  /** latin1, with placeholders. */
  readonly rawRequest: string
  readonly frameworks: readonly string[]
  readonly setup: string
  readonly policy: string
  readonly tokenRecipe?: TokenRecipe
  readonly expected: {
    readonly property: string
    readonly mustNotRun?: readonly string[]
    readonly allowedStatus?: readonly number[]
    readonly observedWithoutGuard?: string | Readonly<Record<string, Observed>>
  }
}

/** What a bare framework was seen to do with the request. */
export interface Observed {
  readonly frameworkRuns: readonly string[]
  readonly unguardedStatus: number
  readonly statusUnderPolicy: readonly number[] | string
}

/** How a token that is not good is made. */
export interface TokenRecipe {
  readonly header?: Readonly<Record<string, unknown>>
  readonly payload?: Readonly<Record<string, unknown>>
  readonly payloadRaw?: string
  readonly omit?: readonly string[]
  readonly signWith?: string
  readonly signature?: string
}

/** A route of the demo app, with the action and resource it declares. */
export interface VectorRoute {
  readonly method: string
  readonly pattern: string
  readonly action: string
  /** `{x}` is the percent-encoded parameter. */
  readonly resource: string
}

interface Vectors {
  readonly cases: readonly Vector[]
  readonly policies: Readonly<Record<string, readonly PolicyDocument[]>>
  readonly setups: Readonly<
    Record<string, { readonly routes?: readonly VectorRoute[]; readonly engine?: string; readonly gateway?: string }>
  >
}

/** The whole file. */
export const vectors = JSON.parse(readFileSync(new URL('./bypass.json', import.meta.url), 'utf8')) as Vectors

/** The routes of the demo app. */
export const demoRoutes: readonly VectorRoute[] = vectors.setups['s0']?.routes ?? []

/** The cases that speak of a framework. */
export function vectorsOf(framework: Framework): readonly Vector[] {
  return vectors.cases.filter(({ frameworks }) => frameworks.includes(framework))
}

/** The bytes of a case: placeholders filled in, nothing normalised. */
export function bytesOf({ rawRequest }: Vector, tokens: ReadonlyMap<string, string>): string {
  return rawRequest
    .replace(/\{\{REPEAT:([^:]+):(\d+)\}\}/g, (_, text: string, times: string) => text.repeat(Number(times)))
    .replace(/\{\{(?:TOKEN|JWT):([\w-]+)\}\}/g, (_, name: string) => {
      const token = tokens.get(name)
      if (token === undefined) throw new Error(`No token ${name}`)
      return token
    })
    .replace(/\{\{(?:HOST|GATEWAY)\}\}/g, '127.0.0.1')
}
