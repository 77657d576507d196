/**
 * What needs Node.js: policies from files, what is probably wrong with them, the audit log in a file or on its way to a gateway,
 * and the last good bundle in a file. And what a command
 * line needs to speak of them: text that does nothing to a terminal, and the nearest right name.
 *
 * @module
 */

export { printable } from '../audit-line.js'
export { nearest } from '../options.js'
export { type LintKind, type LintOptions, type LintRoute, type LintWarning, lintPolicies } from '../policy/lint.js'
export { auditToFile, type FileSinkOptions } from './audit-file.js'
export { auditThroughFolder, type FolderSinkOptions } from './audit-through-folder.js'
export { cacheInFile } from './cache-in-file.js'
export { type LintedFiles, lintPolicyFiles } from './lint-files.js'
export { type LoadedPolicies, type LoadPoliciesOptions, loadPolicies, type ReloadInfo } from './load-policies.js'
