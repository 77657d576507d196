import { isAction } from '@meshguard/core'

/** Which action each tool has. */
export interface ActionMapOptions {
  /** From the name of a tool to its action. */
  readonly actionMap?: Readonly<Record<string, string>> | undefined
  /** Of a tool that is not in `actionMap`. Default: none, and such a tool is denied. */
  readonly defaultAction?: string | undefined
}

/** The names of {@link ActionMapOptions}. */
export const ACTION_MAP_OPTIONS = ['actionMap', 'defaultAction']

/**
 * Reads the actions of tools.
 *
 * @returns the action of a tool; `undefined` is denied.
 * @throws TypeError for what is not an action.
 */
export function readActionMap(where: string, options: ActionMapOptions): (tool: string) => string | undefined {
  const { actionMap = {}, defaultAction } = options
  if (typeof actionMap !== 'object' || actionMap === null) throw new TypeError(`${where}: option "actionMap" must be an object`)
  const actions = new Map(Object.entries(actionMap))
  for (const [tool, action] of actions) assertAction(where, `actionMap: ${tool}`, action)
  if (defaultAction !== undefined) assertAction(where, 'defaultAction', defaultAction)
  return (tool) => actions.get(tool) ?? defaultAction
}

function assertAction(where: string, option: string, action: unknown): void {
  if (isAction(action)) return
  throw new TypeError(`${where}: option "${option}" must be verb:object, like "read:contacts", not ${JSON.stringify(action)}`)
}
