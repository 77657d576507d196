import type { z } from 'zod'

/** Whose credential a route needs. */
export type Caller = 'agent' | 'operator' | 'auditReader' | 'service' | 'nobody'

/** One answer of a route. */
export interface Answer {
  readonly description: string
  /** Of a JSON body; absent where there is none, or where `type` says what it is. */
  readonly schema?: z.ZodType
  /** Media types of a body that is no JSON, or not alone. */
  readonly types?: readonly string[]
  readonly headers?: Readonly<Record<string, string>>
}

/** The refusals that {@link REFUSALS} describes. */
export type RefusalStatus = 400 | 401 | 403 | 404 | 409 | 412 | 413 | 415 | 429 | 502 | 503 | 504

/** What `/openapi.json` says of one route. */
export interface Operation {
  readonly method: 'get' | 'post' | 'put' | 'patch' | 'delete' | 'head' | 'options'
  /** `/admin/agents/{id}`. */
  readonly path: string
  readonly tag:
    | 'Agents'
    | 'Policies'
    | 'Audit'
    | 'Tokens'
    | 'Delegations'
    | 'Keys'
    | 'Decisions'
    | 'Bundles'
    | 'Proxy'
    | 'AuthZEN'
    | 'Gateway'
  /** The name of a client's method. */
  readonly id: string
  readonly summary: string
  readonly description?: string
  readonly caller: Caller
  readonly query?: z.ZodObject
  readonly headers?: z.ZodObject
  readonly body?: { readonly schema: z.ZodType; readonly types?: readonly string[]; readonly optional?: true }
  readonly answers: Readonly<Record<number, Answer>>
  readonly refusals: readonly RefusalStatus[]
}
