import { ToolMessage } from '@langchain/core/messages'
import { DynamicTool, type StructuredToolInterface } from '@langchain/core/tools'
import { convertToOpenAITool } from '@langchain/core/utils/function_calling'
import { MeshGuardClient, PolicyDeniedError, RateLimitError } from '@meshguard/client'
import { createTestGuard } from '@meshguard/core/testing'
import { GovernedToolkit, governedTool } from '@meshguard/langchain'
import { describe, expect, it } from 'vitest'
import { rejection } from '../client/scripted.js'
import { CounterTool, payGuard, payTool, scout, searchTool } from './tools.js'

const call = (name: string, args: unknown, id = 'call_1') => ({ type: 'tool_call', name, args, id }) as never

describe('a governed tool', () => {
  it('looks the same to a model, and answers the same when it is allowed', async () => {
    const { pay, calls } = payTool()
    const governed = governedTool(pay, { action: 'write:payments', guard: payGuard(), credentials: scout })
    expect(convertToOpenAITool(governed)).toEqual(convertToOpenAITool(pay))
    expect(await governed.invoke({ to: 'ada', amount: 5 })).toBe('paid 5')
    const message = await governed.invoke(call('pay', { to: 'ada', amount: 6 }))
    expect(message).toBeInstanceOf(ToolMessage)
    expect(message).toMatchObject({ content: 'paid 6', tool_call_id: 'call_1', status: 'success' })
    expect(calls).toHaveLength(2)
  })

  it('is decided by its arguments as the tool will get them: coerced, and with defaults', async () => {
    const { pay, calls } = payTool()
    const guard = payGuard()
    const governed = governedTool(pay, { action: 'write:payments', guard, credentials: scout })
    await governed.invoke({ to: 'ada' })
    await governed.invoke({ to: 'ada', amount: '100' } as never)
    expect(await rejection(governed.invoke({ to: 'ada', amount: '101' } as never))).toBeInstanceOf(PolicyDeniedError)
    expect(calls).toEqual([
      { to: 'ada', amount: 1 },
      { to: 'ada', amount: 100 },
    ])
    expect(guard.decisions.map(({ agentId, action, decision }) => [agentId, action, decision])).toEqual([
      ['agent_scout', 'write:payments', 'allow'],
      ['agent_scout', 'write:payments', 'allow'],
      ['agent_scout', 'write:payments', 'deny'],
    ])
  })

  it('cannot be told other arguments than the policy by nesting one tool call in another', async () => {
    const { pay, calls } = payTool()
    const governed = governedTool(pay, { action: 'write:payments', guard: payGuard(), credentials: scout })
    const nested = call('pay', { type: 'tool_call', amount: 1, to: 'x', args: { to: 'eve', amount: 9999 } })
    expect(await rejection(governed.invoke(nested))).toBeInstanceOf(PolicyDeniedError)
    expect(await rejection(governed.call(call('pay', { to: 'eve', amount: 9999 })))).toBeInstanceOf(PolicyDeniedError)
    const { search, calls: searches } = searchTool()
    const seen: unknown[] = []
    const context = (args: object) => {
      seen.push(args)
      return {}
    }
    const found = governedTool(search, { action: 'read:web', guard: payGuard(), credentials: scout, context })
    await found.invoke(call('search', { type: 'tool_call', args: { query: 'a' } }))
    expect(seen).toEqual(searches)
    expect(calls).toEqual([])
  })

  it.each<[string, (tool: StructuredToolInterface) => Promise<unknown>]>([
    ['invoke', (tool) => tool.invoke({ to: 'eve', amount: 9999 })],
    ['invoke with a tool call', (tool) => tool.invoke(call('pay', { to: 'eve', amount: 9999 }))],
    ['call', (tool) => tool.call({ to: 'eve', amount: 9999 })],
    [
      'stream',
      async (tool) => {
        for await (const _ of await tool.stream({ to: 'eve', amount: 9999 }));
      },
    ],
    ['batch', (tool) => tool.batch([{ to: 'ada', amount: 9999 }])],
    [
      'a pipe',
      (tool) =>
        (tool as never as { pipe(next: () => unknown): StructuredToolInterface })
          .pipe(() => 1)
          .invoke({ to: 'eve', amount: 9999 }),
    ],
    [
      'withConfig',
      (tool) =>
        (tool as never as { withConfig(config: object): StructuredToolInterface })
          .withConfig({})
          .invoke({ to: 'eve', amount: 9999 }),
    ],
  ])('is checked through %s', async (_, use) => {
    const { pay, calls } = payTool()
    const governed = governedTool(pay, { action: 'write:payments', guard: payGuard(), credentials: scout })
    expect(await rejection(use(governed as never))).toBeInstanceOf(PolicyDeniedError)
    expect(calls).toEqual([])
  })

  it('governs tools of one string, and of classes with private state', async () => {
    const echo = new DynamicTool({ name: 'echo', description: 'Echoes', func: async (text) => text })
    const seen: unknown[] = []
    const context = (args: object) => {
      seen.push(args)
      return {}
    }
    const governed = governedTool(echo, { action: 'read:web', guard: payGuard(), credentials: scout, context })
    expect(await governed.invoke('hello')).toBe('hello')
    expect(await governed.invoke(call('echo', { input: 'again' }))).toMatchObject({ content: 'again' })
    expect(seen).toEqual([{ input: 'hello' }, { input: 'again' }])
    const counter = new CounterTool()
    const counting = governedTool(counter, { action: 'count:things', guard: payGuard(), credentials: scout })
    await counting.invoke({ by: 2 })
    expect(counter.count).toBe(2)
  })

  it('leaves arguments that do not fit to the tool, which refuses them', async () => {
    const { search, calls } = searchTool()
    const governed = governedTool(search, { action: 'read:web', guard: payGuard(), credentials: scout })
    expect(await rejection(governed.invoke({ wrong: 1 }))).toMatchObject({ message: expect.stringContaining('schema') })
    expect(calls).toEqual([])
  })

  it('passes on what the tool throws, a denial of something else included', async () => {
    const thrown = await rejection(createTestGuard({ as: scout }).enforce('read:other', { token: 'any' }))
    const failing = new DynamicTool({ name: 'fail', description: 'Fails', func: () => Promise.reject(thrown) })
    const governed = governedTool(failing, { action: 'read:web', guard: payGuard(), credentials: scout, onDeny: 'message' })
    expect(await rejection(governed.invoke('x'))).toBe(thrown)
  })
})

describe('onDeny', () => {
  it('message answers a message to a tool call and text to everything else', async () => {
    const { pay, calls } = payTool()
    const governed = governedTool(pay, { action: 'write:payments', guard: payGuard(), credentials: scout, onDeny: 'message' })
    const message = await governed.invoke(call('pay', { to: 'eve', amount: 500 }))
    expect(message).toBeInstanceOf(ToolMessage)
    expect(message).toMatchObject({ name: 'pay', tool_call_id: 'call_1', status: 'error' })
    expect((message as ToolMessage).content).toMatch(/^Not allowed: Ask a person to pay that much \(trace [\w-]+\)$/)
    expect(await governed.invoke({ to: 'eve', amount: 500 })).toMatch(/^Not allowed: Ask a person/)
    expect(calls).toEqual([])
  })

  it('a function says what the model is told, or throws', async () => {
    const { pay } = payTool()
    const guard = payGuard()
    const told: unknown[] = []
    const options = { action: 'write:payments', guard, credentials: scout }
    const asking = governedTool(pay, {
      ...options,
      onDeny: async (denial, args, name) => {
        told.push(denial.decision.reason, args, name)
        return { ask: 'a person' }
      },
    })
    expect(await asking.invoke(call('pay', { to: 'eve', amount: 500 }))).toMatchObject({ content: '{"ask":"a person"}' })
    expect(told).toEqual(['Ask a person to pay that much', { to: 'eve', amount: 500 }, 'pay'])
    const thrown = new Error('of onDeny')
    const throwing = governedTool(pay, {
      ...options,
      onDeny: () => {
        throw thrown
      },
    })
    expect(await rejection(throwing.invoke({ to: 'eve', amount: 500 }))).toBe(thrown)
  })

  it('is told of exhausted limits, and of nothing that is not a denial', async () => {
    const { search, calls } = searchTool()
    const limited = createTestGuard({
      policies: { name: 'p', rules: [{ effect: 'allow', actions: ['read:web'], rateLimit: { requests: 1, per: '1h' } }] },
    })
    const options = { action: 'read:web', onDeny: 'message' } as const
    const once = governedTool(search, { ...options, guard: limited, credentials: scout })
    expect(await once.invoke({ query: 'a' })).toBe('found')
    expect(await once.invoke({ query: 'b' })).toMatch(/^Not allowed: Rate limit exceeded/)
    const nobody = governedTool(search, { ...options, guard: payGuard() })
    expect(await rejection(nobody.invoke({ query: 'c' }))).toMatchObject({ name: 'AuthenticationError' })
    const gone = new MeshGuardClient({ gatewayUrl: 'http://127.0.0.1:9', agentToken: 'a' })
    expect(await rejection(governedTool(search, { ...options, guard: gone }).invoke({ query: 'd' }))).toMatchObject({
      name: 'ConnectionError',
    })
    expect(calls).toHaveLength(1)
    expect(RateLimitError.name).toBe('RateLimitError')
  })

  it('lets a guard in audit mode record and go on', async () => {
    const { pay, calls } = payTool()
    const guard = payGuard({ mode: 'audit' })
    await governedTool(pay, { action: 'write:payments', guard, credentials: scout }).invoke({ to: 'eve', amount: 500 })
    expect(guard.decisions).toMatchObject([{ decision: 'deny', enforced: false }])
    expect(calls).toHaveLength(1)
  })
})

describe('who calls', () => {
  it('credentials may be a token, or a function of the run', async () => {
    const { search } = searchTool()
    const guard = createTestGuard({ allow: ['read:web'], as: { id: 'agent_of_token', trustTier: 'verified' } })
    await governedTool(search, { action: 'read:web', guard, credentials: 'any' }).invoke({ query: 'a' })
    const credentials = ({ configurable }: { configurable?: Record<string, unknown> }) =>
      configurable?.['agent'] as typeof scout
    const governed = governedTool(search, { action: 'read:web', guard, credentials: credentials as never })
    await governed.invoke({ query: 'a' }, { configurable: { agent: scout } })
    expect(await rejection(governed.invoke({ query: 'a' }))).toMatchObject({ name: 'AuthenticationError' })
    expect(guard.decisions.map(({ agentId }) => agentId)).toEqual(['agent_of_token', 'agent_scout', undefined])
  })

  it('resource and context are what the options make of the arguments', async () => {
    const { pay } = payTool()
    const guard = payGuard()
    const governed = governedTool(pay, {
      action: 'write:payments',
      guard,
      credentials: scout,
      resource: ({ to }) => `accounts/${to}`,
      context: ({ amount }) => ({ amount }),
    })
    await governed.invoke({ to: 'ada', amount: 1 })
    expect(guard.decisions).toMatchObject([{ resource: 'accounts/ada' }])
  })
})

describe('a governed toolkit', () => {
  const kit = (more: object = {}) => {
    const { pay, calls } = payTool()
    const { search } = searchTool()
    const guard = payGuard()
    const actionMap = { search: 'read:web' }
    return {
      calls,
      guard,
      toolkit: new GovernedToolkit({ tools: [search, pay], guard, credentials: scout, actionMap, ...more }),
    }
  }
  const toolOf = (toolkit: GovernedToolkit, name: string) =>
    toolkit.getTools().find((one) => one.name === name) as StructuredToolInterface

  it('gives each tool its action, and the rest the default one', async () => {
    const { toolkit, guard } = kit({ defaultAction: 'write:payments' })
    expect(await toolOf(toolkit, 'search').invoke({ query: 'a' })).toBe('found')
    expect(await toolOf(toolkit, 'pay').invoke({ to: 'ada', amount: 2 })).toBe('paid 2')
    expect(guard.decisions.map(({ action }) => action)).toEqual(['read:web', 'write:payments'])
  })

  it('denies a tool that has no action, in audit mode as well, and records it', async () => {
    const { toolkit, guard, calls } = kit()
    const error = await rejection(toolOf(toolkit, 'pay').invoke({ to: 'ada', amount: 2 }))
    expect(error).toBeInstanceOf(PolicyDeniedError)
    expect(error).toMatchObject({ code: 'unmapped', reason: expect.stringContaining('The tool "pay" has no action') })
    expect(guard.decisions).toMatchObject([{ code: 'unmapped', decision: 'deny', agentId: 'agent_scout' }])
    const audit = kit({ guard: payGuard({ mode: 'audit' }), onDeny: 'message' })
    expect(await toolOf(audit.toolkit, 'pay').invoke({ to: 'ada', amount: 2 })).toMatch(/^Not allowed/)
    const client = kit({
      guard: new MeshGuardClient({ gatewayUrl: 'http://127.0.0.1:9', agentToken: 'a' }),
      credentials: undefined,
    })
    expect(await rejection(toolOf(client.toolkit, 'pay').invoke({ to: 'ada', amount: 2 }))).toMatchObject({ code: 'unmapped' })
    expect([...calls, ...audit.calls, ...client.calls]).toEqual([])
  })

  it('takes no name of Object.prototype for an action', async () => {
    const named = new DynamicTool({ name: 'constructor', description: 'd', func: async () => 'ran' })
    const toolkit = new GovernedToolkit({ tools: [named], guard: payGuard(), credentials: scout })
    expect(await rejection(toolOf(toolkit, 'constructor').invoke('x'))).toMatchObject({ code: 'unmapped' })
  })
})

describe('wrong options', () => {
  const { pay } = payTool()
  const guard = payGuard()
  it.each(
    (
      [
        [() => governedTool(pay, { action: 'pay', guard }), /governedTool: option "action" must be verb:object.*"pay"/],
        [() => governedTool(pay, { action: 'write:*', guard }), /option "action"/],
        [() => governedTool(pay, undefined as never), /expected an object of options/],
        [() => governedTool(pay, { action: 'write:payments' } as never), /option "guard" must be a guard or a MeshGuardClient/],
        [
          () => governedTool(pay, { action: 'write:payments', guard, onDney: 'throw' } as never),
          /unknown option "onDney"\. Did you mean "onDeny"/,
        ],
        [() => governedTool(pay, { action: 'write:payments', guard, onDeny: 'ignore' as never }), /option "onDeny" must be/],
        [
          () => governedTool(pay, { action: 'write:payments', guard, context: {} as never }),
          /option "context" must be a function/,
        ],
        [() => governedTool({ type: 'web_search' } as never, { action: 'read:web', guard }), /expected tools like those/],
        [
          () =>
            governedTool(pay, {
              action: 'read:web',
              guard: new MeshGuardClient({ gatewayUrl: 'http://a' }),
              credentials: scout,
            }),
          /"credentials" is for a guard/,
        ],
        [() => new GovernedToolkit({ tools: [pay], guard, actionMap: { pya: 'write:payments' } }), /"actionMap" names "pya"/],
        [
          () => new GovernedToolkit({ tools: [pay], guard, actionMap: { pay: 'pay' } }),
          /option "actionMap: pay" must be verb:object/,
        ],
        [() => new GovernedToolkit({ tools: [pay], guard, defaultAction: '' }), /option "defaultAction" must be verb:object/],
        [() => new GovernedToolkit({ tools: pay as never, guard }), /option "tools" must be a list/],
      ] as [() => unknown, RegExp][]
    ).map(([make, message]) => [message, make] as const),
  )('are refused: %s', (message, make) => {
    expect(make).toThrow(TypeError)
    expect(make).toThrow(message)
  })
})
