/**
 * What needs Node.js: policies from files, what is probably wrong with them, and the audit log in a file.
 *
 * @module
 */

export { type LintKind, type LintOptions, type LintRoute, type LintWarning, lintPolicies } from '../policy/lint.js'
export { auditToFile, type FileSinkOptions } from './audit-file.js'
export { type LintedFiles, lintPolicyFiles } from './lint-files.js'
export { type LoadedPolicies, type LoadPoliciesOptions, loadPolicies, type ReloadInfo } from './load-policies.js'
