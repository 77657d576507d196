/**
 * What needs Node.js: policies from files, and the audit log in a file.
 *
 * @module
 */
export { auditToFile, type FileSinkOptions } from './audit-file.js'
export { type LoadedPolicies, type LoadPoliciesOptions, loadPolicies, type ReloadInfo } from './load-policies.js'
