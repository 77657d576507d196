/**
 * A middleware for agents of LangChain v1. It needs the package `langchain`, which is an optional peer.
 *
 * @module
 */
import { type AgentMiddleware, createMiddleware } from 'langchain'
import { ACTION_MAP_OPTIONS, type ActionMapOptions, readActionMap } from './action-map.js'
import { argumentsOf, CALL_UNWRAPS, unwrap } from './arguments.js'
import { GOVERNANCE_OPTIONS, Governance, type GovernanceOptions, type RunInfo } from './governance.js'
import { denialMessage } from './governed-tool.js'

/** Options of {@link meshguardMiddleware}. */
export interface MeshguardMiddlewareOptions extends GovernanceOptions, ActionMapOptions {}

/**
 * Asks before every tool call of an agent, tools that other middleware brings included. One that is neither in `actionMap`
 * nor covered by `defaultAction` is denied.
 *
 * With `onDeny: 'throw'` a denial ends the run of the agent, as LangChain has it for errors of middleware: `invoke` rejects
 * with an error whose `cause` is the `PolicyDeniedError`. Tools that a provider runs on its own side never reach an agent's
 * middleware: do not bind them.
 *
 * @throws TypeError for a wrong option.
 *
 * @example
 * ```ts
 * const agent = createAgent({
 *   model,
 *   tools: [search, sendEmail],
 *   middleware: [meshguardMiddleware({ guard: client, actionMap: { search: 'read:web' }, onDeny: 'message' })],
 * })
 * ```
 */
export function meshguardMiddleware(options: MeshguardMiddlewareOptions): AgentMiddleware {
  const where = 'meshguardMiddleware'
  const governance = new Governance(where, options, [...GOVERNANCE_OPTIONS, ...ACTION_MAP_OPTIONS])
  const actionOf = readActionMap(where, options)
  return createMiddleware({
    name: 'MeshGuard',
    wrapToolCall: async (request, handler) => {
      const { toolCall, tool, runtime } = request
      const { name } = toolCall
      const args = await argumentsOf(tool?.['schema' as keyof typeof tool], unwrap(toolCall.args, CALL_UNWRAPS))
      const { configurable, context, signal } = runtime as RunInfo & { readonly signal?: AbortSignal }
      const asked = { tool: name, action: actionOf(name), args, run: { configurable, context }, signal }
      const outcome = await governance.run(asked, async () => handler(request))
      return 'result' in outcome ? outcome.result : denialMessage(name, toolCall.id ?? '', outcome.denied)
    },
  })
}
