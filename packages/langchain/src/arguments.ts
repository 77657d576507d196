import { type InteropZodType, interopSafeParseAsync, isInteropZodSchema } from '@langchain/core/utils/types'
import type { Arguments } from './governance.js'

/**
 * The arguments of a call as the tool will get them: parsed by its schema, where it is one of zod. Those that do not fit are
 * taken as they are: the tool refuses them itself.
 */
export async function argumentsOf(schema: unknown, given: unknown): Promise<Arguments> {
  if (!isInteropZodSchema(schema)) return asObject(given)
  const parsed = await interopSafeParseAsync(schema as InteropZodType, asObject(given))
  return asObject(parsed.success ? parsed.data : given)
}

/** A tool with one argument may be called with it alone: it is its `input`. */
function asObject(given: unknown): Arguments {
  const isObject = typeof given === 'object' && given !== null && !Array.isArray(given)
  return isObject ? (given as Arguments) : { input: given }
}

/**
 * How often LangChain looks into a tool call for its arguments: `invoke` takes them out, and `call`, which it calls, once
 * more. A model that nests one tool call in another must not be checked by other arguments than the tool gets.
 */
export const INVOKE_UNWRAPS = 2
export const CALL_UNWRAPS = 1

/** The arguments in what a tool is called with, looked into as often as LangChain does. */
export function unwrap(input: unknown, times: number): unknown {
  return times > 0 && isToolCall(input) ? unwrap(input.args, times - 1) : input
}

/** A tool call of a model, as a tool takes it in the place of arguments. */
export function isToolCall(input: unknown): input is { readonly args: unknown; readonly id?: string } {
  return typeof input === 'object' && input !== null && 'type' in input && input.type === 'tool_call'
}
