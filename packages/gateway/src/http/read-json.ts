import type { Context } from 'hono'
import type { GatewayEnv } from '../services.js'
import { badRequest, tooLarge, unsupportedMediaType } from './errors.js'

/** The parts of a handler's context that are read; the handler may have further variables. */
type Asking = Pick<Context<GatewayEnv>, 'req' | 'env'>

/** How much of a body is read, and of what. */
export interface ReadOptions {
  /** The longest body, in bytes. Default 64 KiB. */
  readonly limit?: number | undefined
  /** The media types that are read. Default `application/json` alone. */
  readonly types?: readonly string[] | undefined
}

/** How JSON is read. */
export interface ReadJsonOptions extends Omit<ReadOptions, 'types'> {
  /** How deep objects and arrays may be nested, the outermost included. Default 8. */
  readonly depth?: number | undefined
}

const DEFAULT_LIMIT = 64 * 1024
const DEFAULT_DEPTH = 8
const JSON_ONLY: readonly string[] = ['application/json']

/**
 * Reads a body as JSON. Two equal keys of one object count as the last one.
 *
 * @throws RequestError 415 for another media type, charset or a content coding; 413 for a body over the limit, before it is
 * read whole; 400 for what is not UTF-8 or not JSON, is nested too deeply, or has a key `__proto__`, `constructor` or `prototype`.
 *
 * @example
 * ```ts
 * const body = await readJson(c, { limit: 256 * 1024 })
 * ```
 */
export async function readJson(c: Asking, options: ReadJsonOptions = {}): Promise<unknown> {
  const { text } = await readBody(c, { limit: options.limit, types: JSON_ONLY })
  return parseJson(text, options.depth)
}

/**
 * Reads JSON text that a client sent, in a header for instance, under the rules of {@link readJson}.
 *
 * @throws RequestError 400.
 */
export function parseJson(text: string, depth: number = DEFAULT_DEPTH, what = 'The body'): unknown {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw badRequest(`${what} is not JSON`)
  }
  assertJson(value, depth, what)
  return value
}

/**
 * Refuses what {@link parseJson} would refuse of a value that is parsed already.
 *
 * @throws RequestError 400.
 */
export function assertJson(value: unknown, depth: number = DEFAULT_DEPTH, what = 'The body'): void {
  const problem = problemOf(value, depth, '')
  if (problem !== undefined) throw badRequest(`${what} is not accepted`, [problem])
}

/**
 * Reads a body as text.
 *
 * @throws RequestError 415, 413 and 400 as {@link readJson}.
 */
export async function readBody(c: Asking, options: ReadOptions = {}): Promise<{ type: string; text: string }> {
  const { limit = DEFAULT_LIMIT, types = JSON_ONLY } = options
  const type = mediaTypeOf(c, types)
  const bytes = await readBytes(c, limit)
  try {
    return { type, text: new TextDecoder('utf-8', { fatal: true }).decode(bytes) }
  } catch {
    throw badRequest('The body is not UTF-8')
  }
}

/**
 * Lets a client that waits for `100 Continue` (RFC 9110, 10.1.1) send its body. To be called before a body is read, and not
 * before it is known that it will be.
 */
export function admitBody(c: Asking): void {
  const { incoming, outgoing } = c.env ?? {}
  if (incoming?.headers.expect !== undefined && !outgoing.headersSent) outgoing.writeContinue()
}

/** The media type of the request. A parameter other than `charset=utf-8` changes nothing, and must be well formed. */
function mediaTypeOf(c: Asking, types: readonly string[]): string {
  const [name = '', ...parameters] = (c.req.header('content-type') ?? '').toLowerCase().split(';')
  const type = name.trim()
  const coding = c.req.header('content-encoding')
  if (coding !== undefined && coding.toLowerCase() !== 'identity') {
    throw unsupportedMediaType('The body must be sent without a content coding')
  }
  if (!types.includes(type)) throw unsupportedMediaType(`The body must be sent as ${types.join(' or ')}`)
  for (const parameter of parameters) {
    const [key = '', value = '', ...rest] = parameter.trim().split('=')
    const bare = value.startsWith('"') && value.endsWith('"') && value.length > 2 ? value.slice(1, -1) : value
    if (!isToken(key) || !isToken(bare) || rest.length > 0 || (key === 'charset' && bare !== 'utf-8' && bare !== 'utf8')) {
      throw unsupportedMediaType('The body must be UTF-8, and the parameters of its media type well formed')
    }
  }
  return type
}

function isToken(text: string): boolean {
  return /^[\w.+-]+$/.test(text)
}

async function readBytes(c: Asking, limit: number): Promise<Uint8Array> {
  const refusal = () => tooLarge(`The body is longer than ${limit} bytes`)
  const length = c.req.header('content-length')
  if (length !== undefined && !(Number(length) <= limit)) throw refusal()
  admitBody(c)
  try {
    const bytes = length === undefined ? await collect(c, limit) : new Uint8Array(await c.req.raw.arrayBuffer())
    if (bytes !== undefined && bytes.length <= limit) return bytes
  } catch {
    throw badRequest('The body ended early')
  }
  throw refusal()
}

/** A body of unknown length; `undefined` as soon as it is over the limit. */
async function collect(c: Asking, limit: number): Promise<Uint8Array | undefined> {
  const chunks: Uint8Array[] = []
  let length = 0
  const reader = c.req.raw.body?.getReader()
  while (reader !== undefined) {
    const { done, value } = await reader.read()
    if (done) break
    length += value.length
    if (length > limit) {
      await reader.cancel()
      return undefined
    }
    chunks.push(value)
  }
  return Buffer.concat(chunks)
}

const POLLUTING: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype'])

function problemOf(value: unknown, depth: number, path: string): { path: string; message: string } | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  if (depth === 0) return { path, message: 'is nested too deeply' }
  for (const [key, inner] of Object.entries(value)) {
    const place = path === '' ? key : `${path}.${key}`
    if (POLLUTING.has(key)) return { path: place, message: 'is a key that is not accepted' }
    const problem = problemOf(inner, depth - 1, place)
    if (problem !== undefined) return problem
  }
  return undefined
}
