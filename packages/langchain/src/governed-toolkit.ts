import { BaseToolkit, type DynamicTool, type StructuredToolInterface } from '@langchain/core/tools'
import { ACTION_MAP_OPTIONS, type ActionMapOptions, readActionMap } from './action-map.js'
import { GOVERNANCE_OPTIONS, Governance, type GovernanceOptions } from './governance.js'
import { govern } from './governed-tool.js'

/** Options of {@link GovernedToolkit}. */
export interface GovernedToolkitOptions extends GovernanceOptions, ActionMapOptions {
  readonly tools: readonly (StructuredToolInterface | DynamicTool)[]
}

/**
 * Several tools that ask before they run. One that is neither in `actionMap` nor covered by `defaultAction` is denied
 * whenever it is called.
 *
 * @example
 * ```ts
 * const toolkit = new GovernedToolkit({
 *   tools: [search, sendEmail],
 *   guard: new MeshGuardClient(),
 *   actionMap: { search: 'read:web', sendEmail: 'write:email' },
 *   onDeny: 'message',
 * })
 * const agent = createAgent({ model, tools: toolkit.getTools() })
 * ```
 */
export class GovernedToolkit extends BaseToolkit {
  override readonly tools: StructuredToolInterface[]

  /** @throws TypeError for a wrong option, or a name in `actionMap` that no tool has. */
  constructor(options: GovernedToolkitOptions) {
    super()
    const where = 'GovernedToolkit'
    const governance = new Governance(where, options, [...GOVERNANCE_OPTIONS, ...ACTION_MAP_OPTIONS, 'tools'])
    const { tools, actionMap = {} } = options
    if (!Array.isArray(tools)) throw new TypeError(`${where}: option "tools" must be a list of tools`)
    const actionOf = readActionMap(where, options)
    this.tools = tools.map((tool) => govern(where, tool as StructuredToolInterface, actionOf(tool.name), governance))
    const unknown = Object.keys(actionMap).find((name) => !this.tools.some((tool) => tool.name === name))
    if (unknown !== undefined)
      throw new TypeError(`${where}: option "actionMap" names "${unknown}", which is none of the tools`)
  }
}
