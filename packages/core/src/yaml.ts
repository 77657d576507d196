/**
 * Policies as text: YAML or JSON.
 *
 * @module
 */
import type { Path } from './policy/issues.js'
import { parseYaml } from './policy/parse-yaml.js'
import type { Policies } from './policy/policy.js'
import { joinPolicies, readPolicies } from './policy/policy-files.js'
import { type Place, readText } from './policy/policy-text.js'

export type { Policies, Policy } from './policy/policy.js'

/** Options of {@link parsePolicies}. */
export interface ParsePoliciesOptions {
  /** The name of the file, for messages. */
  readonly file?: string | undefined
}

/**
 * Reads the policies in a text: one policy, several as YAML documents parted by `---`, or one as JSON.
 *
 * At most 256 KiB of YAML, or 1 MiB of JSON (a text that begins with `{` and that `JSON.parse` takes), nested at most 16 deep.
 * YAML is version 1.2 with the core schema, so `no` is text; anchors, aliases, tags, merge keys, duplicate keys, keys that are
 * not text, tabs as indentation and control characters are refused. So an unquoted `*:email`, an alias to YAML, must be quoted.
 *
 * @param text Text, or bytes that must be UTF-8, with or without a byte order mark.
 * @throws ValidationError with everything that is wrong; each issue has the line, the column and the `file`.
 *
 * @example
 * ```ts
 * const policies = parsePolicies(`
 * name: readers
 * rules:
 *   - effect: allow
 *     actions: ["read:*"]
 * `)
 * const guard = createGuard({ source: fromPolicies(policies) })
 * ```
 */
export function parsePolicies(text: string | Uint8Array, options: ParsePoliciesOptions = {}): Policies {
  return joinPolicies(readPolicies(text, options.file))
}

/** One document of a text, as plain values. */
export interface PlacedDocument {
  readonly value: unknown
  /** Where the value at a path stands, or its key; where the path leads nowhere, the last place on the way. */
  placeOf(path: Path, what?: 'key' | 'value'): Place
}

/**
 * Reads the documents in a text that goes with policies, like a file of tests for them, under the same rules as
 * {@link parsePolicies} and without looking at what they say.
 *
 * @throws ValidationError at the first thing that is wrong, with the line, the column and the `file`.
 *
 * @example
 * ```ts
 * for (const { value, placeOf } of parseDocuments(text, { file: 'tests.yaml' })) console.log(value, placeOf(['tests', 0]).line)
 * ```
 */
export function parseDocuments(text: string | Uint8Array, options: ParsePoliciesOptions = {}): PlacedDocument[] {
  const source = readText(text, options.file)
  return Array.from(parseYaml(source), ({ value, offsetOf }) => {
    return { value, placeOf: (path, what = 'value') => source.placeOf(offsetOf(path, what)) }
  })
}
