/**
 * Governed tools for LangChain.js: every call is an action that a guard or a gateway allows or denies.
 *
 * @module
 */
export type { ActionMapOptions } from './action-map.js'
export type { Arguments, Denial, GovernanceOptions, GovernOptions, Governor, OnDeny, RunInfo } from './governance.js'
export { type GovernedToolOptions, governedTool } from './governed-tool.js'
export { GovernedToolkit, type GovernedToolkitOptions } from './governed-toolkit.js'
