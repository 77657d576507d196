import { type Issue, ValidationError } from '@meshguard/core'
import { issuesOf } from '@meshguard/core/http'
import type { Context } from 'hono'
import { z } from 'zod'
import { badRequest } from '../http/errors.js'
import { type ReadJsonOptions, readJson } from '../http/read-json.js'
import type { GatewayEnv } from '../services.js'

/** What a body of the administration may have, in bytes. A policy may have 1 MiB. */
const MAX_BODY = 256 * 1024

/**
 * What a schema makes of a value.
 *
 * @throws ValidationError with everything that is wrong: the path of each issue, and the nearest right name for a key or a word
 * that there is not.
 */
export function readWith<S extends z.ZodType>(schema: S, value: unknown): z.output<S> {
  const { success, data, error } = schema.safeParse(value, { reportInput: false })
  if (success) return data
  throw new ValidationError(issuesIn(error, schema, value))
}

/** What a schema found wrong with a value, in words. */
export function issuesIn(error: z.ZodError, schema: z.ZodType, value: unknown): Issue[] {
  return error.issues.flatMap((found) => inWords(found, schema, value))
}

/**
 * Reads a JSON body by a schema.
 *
 * @throws RequestError 415, 413, 400 as `readJson`; ValidationError.
 */
export async function readBodyWith<S extends z.ZodType>(
  c: Context<GatewayEnv>,
  schema: S,
  options: ReadJsonOptions = {},
): Promise<z.output<S>> {
  return readWith(schema, await readJson(c, { limit: MAX_BODY, ...options }))
}

/** As {@link readBodyWith}, for a body that may be left out; then it counts as `{}`. */
export async function readOptionalBodyWith<S extends z.ZodType>(c: Context<GatewayEnv>, schema: S): Promise<z.output<S>> {
  const { req } = c
  const isAbsent =
    req.header('content-type') === undefined &&
    req.header('transfer-encoding') === undefined &&
    (req.header('content-length') ?? '0') === '0'
  return isAbsent ? readWith(schema, {}) : readBodyWith(c, schema)
}

/**
 * Reads the query by a schema.
 *
 * @throws RequestError 400 for a parameter that is there twice; ValidationError.
 */
export function readQueryWith<S extends z.ZodType>(c: Context<GatewayEnv>, schema: S): z.output<S> {
  const given: [string, string][] = []
  for (const [name, values] of Object.entries(c.req.queries())) {
    const [value, ...more] = values
    if (more.length > 0) throw badRequest('A parameter is given twice', [{ path: name, message: `${name}: give it once` }])
    given.push([name, value as string])
  }
  return readWith(schema, Object.fromEntries(given))
}

/** Refuses one member of a request for what a schema cannot know. */
export function invalid(path: Issue['path'], message: string): ValidationError {
  return new ValidationError([{ path, message: `${path.join('.')}: ${message}` }])
}

/** A missing member is named by its own path: who sends JSON has no line to look at. */
function inWords(found: z.core.$ZodIssue, schema: z.ZodType, value: unknown): Issue[] {
  if (found.code === 'invalid_union') {
    const meant = found.errors.find((issues) => issues.length > 0 && !issues.some(isOfAnotherKind))
    if (meant !== undefined) {
      return meant.flatMap((one) => inWords({ ...one, path: [...found.path, ...one.path] }, schema, value))
    }
  }
  const path = found.path.filter((key) => typeof key !== 'symbol')
  const issues = issuesOf(found, value, (at) => keysAt(schema, at))
  return found.code === 'unrecognized_keys' ? issues : issues.map((issue) => ({ ...issue, path }))
}

/** Of a union that is not met: the value as a whole is not for this part of it, so nobody meant that one. */
function isOfAnotherKind({ code, path }: z.core.$ZodIssue): boolean {
  return path.length === 0 && code !== 'unrecognized_keys'
}

/** The keys that the object at a path may have. */
function keysAt(schema: z.core.$ZodType, path: Issue['path']): readonly string[] {
  let at = unwrapped(schema)
  for (const key of path) {
    if (at instanceof z.ZodArray) at = unwrapped(at.element)
    else if (at instanceof z.ZodObject) at = unwrapped(at.shape[key])
    else return []
    if (at instanceof z.ZodUnion) at = at.options.find((one) => one instanceof z.ZodObject) ?? at
  }
  return at instanceof z.ZodObject ? Object.keys(at.shape) : []
}

function unwrapped(schema: z.core.$ZodType): z.core.$ZodType {
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodDefault) return unwrapped(schema.unwrap())
  return schema instanceof z.ZodPipe ? unwrapped(schema.in) : schema
}
