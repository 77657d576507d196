/** Tools that remember what they were called with. */
import { StructuredTool, tool } from '@langchain/core/tools'
import { createTestGuard, type TestGuard } from '@meshguard/core/testing'
import { z } from 'zod'

/** A payment: what it is told must be what the policy saw. */
export function payTool() {
  const calls: unknown[] = []
  const pay = tool(
    (args) => {
      calls.push(args)
      return `paid ${args.amount}`
    },
    {
      name: 'pay',
      description: 'Pays somebody',
      schema: z.object({ to: z.string(), amount: z.coerce.number().default(1) }),
    },
  )
  return { pay, calls }
}

/** The same, described in JSON Schema. */
export function searchTool() {
  const calls: unknown[] = []
  const search = tool(
    (args: unknown) => {
      calls.push(args)
      return 'found'
    },
    {
      name: 'search',
      description: 'Searches',
      schema: { type: 'object', properties: { query: { type: 'string' } }, required: ['query'] },
    },
  )
  return { search, calls }
}

/** A class of its own, with private state, that overrides how it is invoked. */
export class CounterTool extends StructuredTool {
  override name = 'count'
  override description = 'Counts'
  override schema = z.object({ by: z.number() })
  #count = 0

  get count(): number {
    return this.#count
  }

  protected override async _call({ by }: { by: number }): Promise<string> {
    this.#count += by
    return String(this.#count)
  }
}

/** Payments up to 100 are allowed, searches always, and nothing else. */
export function payGuard(options: { mode?: 'audit' } = {}): TestGuard {
  return createTestGuard({
    ...options,
    policies: {
      name: 'tools',
      rules: [
        { effect: 'allow', actions: ['write:payments'], conditions: { 'context.amount': { lte: 100 } } },
        { effect: 'deny', actions: ['write:payments'], reason: 'Ask a person to pay that much' },
        { effect: 'allow', actions: ['read:web', 'count:things'] },
      ],
    },
  })
}

/** Who calls in these tests. */
export const scout = { id: 'agent_scout', trustTier: 'verified' }
