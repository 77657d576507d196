import { fakeModel } from '@langchain/core/testing'
import type { TestGuard } from '@meshguard/core/testing'
import { governedTool } from '@meshguard/langchain'
import { type MeshguardMiddlewareOptions, meshguardMiddleware } from '@meshguard/langchain/middleware'
import { AIMessage, createAgent, createMiddleware, DynamicTool, HumanMessage, ToolMessage } from 'langchain'
import { describe, expect, it } from 'vitest'
import { rejection } from '../client/scripted.js'
import { payGuard, payTool, scout, searchTool } from './tools.js'

type Called = { name: string; args: Record<string, unknown> }

/** An agent whose model calls these tools, all at once, and then says that it is done. */
function agentThatCalls(
  called: Called[],
  options: Partial<MeshguardMiddlewareOptions> & { guard: TestGuard },
  more: object = {},
) {
  const { pay, calls } = payTool()
  const { search, calls: searches } = searchTool()
  const model = fakeModel().respondWithTools(called).respond(new AIMessage('done'))
  const actionMap = { pay: 'write:payments', search: 'read:web' }
  const middleware = [meshguardMiddleware({ credentials: scout, actionMap, ...options })]
  const agent = createAgent({ model: model as never, tools: [pay, search], middleware, ...more })
  const run = async (config: object = {}) => {
    const { messages } = await agent.invoke({ messages: [new HumanMessage('go')] }, config)
    return messages.filter((message) => ToolMessage.isInstance(message)) as ToolMessage[]
  }
  return { run, calls, searches, model }
}

describe('the middleware of an agent', () => {
  it('lets allowed calls through and tells the model of denied ones', async () => {
    const guard = payGuard()
    const called = [
      { name: 'search', args: { query: 'price' } },
      { name: 'pay', args: { to: 'ada', amount: '7' } },
      { name: 'pay', args: { to: 'eve', amount: 700 } },
    ]
    const { run, calls, searches, model } = agentThatCalls(called, { guard, onDeny: 'message' })
    const messages = await run()
    expect(messages.map(({ content, status }) => [status, content])).toEqual([
      ['success', 'found'],
      ['success', 'paid 7'],
      ['error', expect.stringMatching(/^Not allowed: Ask a person to pay that much \(trace /)],
    ])
    expect(calls).toEqual([{ to: 'ada', amount: 7 }])
    expect(searches).toHaveLength(1)
    expect(model.callCount).toBe(2)
    expect(guard.decisions.map(({ agentId, action, decision }) => `${agentId} ${action} ${decision}`).sort()).toEqual([
      'agent_scout read:web allow',
      'agent_scout write:payments allow',
      'agent_scout write:payments deny',
    ])
  })

  it('ends the run with the denial as the cause when it is to throw', async () => {
    const { run, calls, model } = agentThatCalls([{ name: 'pay', args: { to: 'eve', amount: 700 } }], { guard: payGuard() })
    const error = await rejection(run())
    expect(error.cause).toMatchObject({ name: 'PolicyDeniedError', action: 'write:payments', status: 403 })
    expect(calls).toEqual([])
    expect(model.callCount).toBe(1)
  })

  it('denies a tool that has no action', async () => {
    const { run, calls } = agentThatCalls([{ name: 'pay', args: { to: 'ada', amount: 1 } }], {
      guard: payGuard(),
      actionMap: { search: 'read:web' },
      onDeny: 'message',
    })
    expect(await run()).toMatchObject([{ status: 'error', content: expect.stringContaining('Not allowed') }])
    expect(calls).toEqual([])
  })

  it('governs tools that other middleware brings', async () => {
    let ran = 0
    const late = new DynamicTool({ name: 'late', description: 'Comes late', func: async () => String(++ran) })
    const bringing = createMiddleware({ name: 'Bringing', tools: [late] })
    const guard = payGuard()
    const middleware = [
      meshguardMiddleware({ guard, credentials: scout, defaultAction: 'write:anything', onDeny: 'message' }),
      bringing,
    ]
    const { run } = agentThatCalls([{ name: 'late', args: { input: 'x' } }], { guard }, { middleware })
    expect(await run()).toMatchObject([{ status: 'error' }])
    expect(ran).toBe(0)
    expect(guard.decisions).toMatchObject([{ action: 'write:anything', decision: 'deny' }])
  })

  it('cannot be told other arguments than the tool gets', async () => {
    const nested = { type: 'tool_call', to: 'ada', amount: 1, args: { to: 'eve', amount: 700 } }
    const { run, calls } = agentThatCalls([{ name: 'pay', args: nested }], { guard: payGuard(), onDeny: 'message' })
    expect(await run()).toMatchObject([{ status: 'error', content: expect.stringContaining('Ask a person') }])
    expect(calls).toEqual([])
  })

  it('lets a tool refuse arguments that do not fit, so that the model can correct them', async () => {
    const guard = payGuard()
    const { run } = agentThatCalls([{ name: 'search', args: { wrong: 1 } }], { guard })
    expect(await run()).toMatchObject([{ status: 'error', content: expect.stringContaining('schema') }])
  })

  it('knows who calls from the context of the run', async () => {
    const guard = payGuard()
    const credentials = ({ context }: { context?: unknown }) => (context as { agent?: typeof scout } | undefined)?.agent
    const { run } = agentThatCalls([{ name: 'search', args: { query: 'a' } }], { guard, credentials })
    await run({ context: { agent: { id: 'agent_of_the_run', trustTier: 'verified' } } })
    expect(guard.decisions).toMatchObject([{ agentId: 'agent_of_the_run', decision: 'allow' }])
  })

  it.each([
    [{}, /option "guard"/],
    [{ guard: payGuard(), actionMap: { pay: 'pay' } }, /option "actionMap: pay"/],
    [{ guard: payGuard(), tools: [] }, /unknown option "tools"/],
  ])('refuses wrong options %#', (options, message) => {
    expect(() => meshguardMiddleware(options as never)).toThrow(message)
  })
})

describe('governed tools in an agent', () => {
  it('answer the model, whichever way a denial goes', async () => {
    const { pay, calls } = payTool()
    const options = { action: 'write:payments', guard: payGuard(), credentials: scout } as const
    for (const onDeny of ['message', 'throw'] as const) {
      const model = fakeModel()
        .respondWithTools([{ name: 'pay', args: { to: 'eve', amount: 700 } }])
        .respondWithTools([{ name: 'pay', args: { to: 'ada', amount: 7 } }])
        .respond(new AIMessage('done'))
      const agent = createAgent({ model: model as never, tools: [governedTool(pay, { ...options, onDeny })] })
      const { messages } = await agent.invoke({ messages: [new HumanMessage('go')] })
      const [denied, paid] = messages.filter((message) => ToolMessage.isInstance(message)) as ToolMessage[]
      expect(denied).toMatchObject({ status: 'error', content: expect.stringContaining('Ask a person to pay that much') })
      expect(paid).toMatchObject({ status: 'success', content: 'paid 7' })
    }
    expect(calls).toHaveLength(2)
  })
})
