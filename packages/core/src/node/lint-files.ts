import { type LintOptions, type LintWarning, lintPolicies } from '../policy/lint.js'
import type { Policies } from '../policy/policy.js'
import { joinPolicies } from '../policy/policy-files.js'
import { placedIn, readFiles } from './policy-folder.js'

/** Policies that are valid, and what they probably do not mean. */
export interface LintedFiles {
  readonly policies: Policies
  readonly files: readonly string[]
  readonly warnings: readonly LintWarning[]
}

/**
 * Reads the policies of a file or folder as `loadPolicies` does, and looks for what they probably do not mean; each warning
 * has its file, line and column.
 *
 * @throws ValidationError, when the set is bad, with file, line and column of everything that is wrong.
 *
 * @example
 * ```ts
 * const { warnings } = await lintPolicyFiles('./policies', { routes: protect.routes(app) })
 * ```
 */
export async function lintPolicyFiles(path: string, options: Pick<LintOptions, 'routes'> = {}): Promise<LintedFiles> {
  const set = await readFiles(path)
  const placed = placedIn(set)
  const policies = joinPolicies(placed)
  const places = new Map(placed.map(({ policy, placeOf }) => [policy, placeOf]))
  const warnings = lintPolicies(policies, { ...options, placeOf: (policy, at) => places.get(policy)?.(at) ?? {} })
  return { policies, files: set.files.map((file) => file.path), warnings }
}
