import { ToolMessage } from '@langchain/core/messages'
import { StructuredTool, type StructuredToolInterface, type ToolRunnableConfig } from '@langchain/core/tools'
import { isAction } from '@meshguard/core'
import { argumentsOf, CALL_UNWRAPS, INVOKE_UNWRAPS, isToolCall, unwrap } from './arguments.js'
import { GOVERNANCE_OPTIONS, Governance, type GovernanceOptions, type RunInfo } from './governance.js'

/** Options of {@link governedTool}. */
export interface GovernedToolOptions extends GovernanceOptions {
  /** What the tool does: `verb:object`. */
  readonly action: string
}

/**
 * Makes a tool that asks before it runs: same name, description, schema and result.
 *
 * The arguments are the `context` of the decision, so that a policy can say `context.amount: { lte: 100 }`. Every way of
 * calling the tool is checked (`invoke`, `call`, `stream`, `batch`, an agent). The tool itself is left as it was: give the
 * agent the new one alone.
 *
 * @throws TypeError for a wrong option, or for what is no LangChain tool.
 *
 * @example
 * ```ts
 * const pay = governedTool(payTool, { action: 'write:payments', guard: client, onDeny: 'message' })
 * const agent = createAgent({ model, tools: [pay] })
 * ```
 */
export function governedTool<S, I, O>(
  tool: StructuredToolInterface<S, I, O>,
  options: GovernedToolOptions,
): StructuredToolInterface<S, I, O> {
  const { action } = options ?? {}
  const governance = new Governance('governedTool', options, [...GOVERNANCE_OPTIONS, 'action'])
  if (!isAction(action)) {
    throw new TypeError(
      `governedTool: option "action" must be verb:object, like "read:contacts", not ${JSON.stringify(action)}`,
    )
  }
  return govern('governedTool', tool, action, governance)
}

/** @param action `undefined` is denied. */
export function govern<S, I, O>(
  where: string,
  tool: StructuredToolInterface<S, I, O>,
  action: string | undefined,
  governance: Governance,
): StructuredToolInterface<S, I, O> {
  if (typeof tool?.invoke !== 'function' || typeof tool.call !== 'function' || typeof tool.name !== 'string') {
    throw new TypeError(`${where}: expected tools like those of tool(…) and StructuredTool of @langchain/core`)
  }
  return new GovernedTool(tool as StructuredToolInterface, action, governance) as unknown as StructuredToolInterface<S, I, O>
}

type Call = StructuredToolInterface['call']
type Invoke = StructuredToolInterface['invoke']

/** Stands in front of a tool. Whatever calls a tool goes through `invoke` or `call`, and neither is left as it was. */
class GovernedTool extends StructuredTool {
  override readonly name: string
  override readonly description: string
  override readonly schema: StructuredToolInterface['schema']
  readonly #tool: StructuredToolInterface
  readonly #action: string | undefined
  readonly #governance: Governance

  constructor(tool: StructuredToolInterface, action: string | undefined, governance: Governance) {
    super(tool as StructuredTool)
    this.name = tool.name
    this.description = tool.description
    this.schema = tool.schema
    this.returnDirect = tool.returnDirect
    this.#tool = tool
    this.#action = action
    this.#governance = governance
  }

  override invoke = ((input: unknown, config?: ToolRunnableConfig) =>
    this.#run(input, INVOKE_UNWRAPS, config, () => this.#tool.invoke(input as never, config))) as Invoke

  override call = ((input: unknown, config?: ToolRunnableConfig, tags?: string[]) =>
    this.#run(input, CALL_UNWRAPS, config, () => this.#tool.call(input as never, config, tags))) as Call

  protected override _call(): Promise<never> {
    return Promise.reject(new Error(`The tool "${this.name}" is governed: use invoke`))
  }

  async #run(
    input: unknown,
    unwraps: number,
    config: ToolRunnableConfig | undefined,
    work: () => Promise<unknown>,
  ): Promise<unknown> {
    const args = await argumentsOf(this.schema, unwrap(input, unwraps))
    const { configurable, context } = (config ?? {}) as RunInfo
    const asked = { tool: this.name, action: this.#action, args, run: { configurable, context }, signal: config?.signal }
    const outcome = await this.#governance.run(asked, work)
    if ('result' in outcome) return outcome.result
    const id = (isToolCall(input) ? input.id : undefined) ?? config?.toolCall?.id
    return id === undefined ? outcome.denied : denialMessage(this.name, id, outcome.denied)
  }
}

/** What the model is told instead of the tool's result. */
export function denialMessage(name: string, id: string, denied: unknown): ToolMessage {
  if (ToolMessage.isInstance(denied)) return denied
  const content = typeof denied === 'string' ? denied : JSON.stringify(denied ?? 'Not allowed')
  return new ToolMessage({ name, tool_call_id: id, content, status: 'error' })
}
