import type { PolicyTest } from '@meshguard/client'
import { type Agent, createGuard, type Explanation, fromPolicies, type Policies } from '@meshguard/core'
import { lintPolicyFiles } from '@meshguard/core/node'
import { isAgentId } from '@meshguard/core/policy'
import { CliError } from './errors.js'
import { note, plain } from './output.js'
import type { Session } from './session.js'

/** Answers a test of the policies, with every step. */
export type Ask = (test: PolicyTest) => Promise<Explanation>

/** Asks the gateway, which knows the agents and the policies in force. */
export function askGateway({ client, call }: Session): Ask {
  return (test) => client.testPolicy(test, call)
}

/**
 * Asks the policies of a file or folder, without a gateway. Nothing is known there of an agent but what the test says of it:
 * one of which only the id is given has the lowest tier and no tags, and that is said once.
 *
 * @throws ValidationError with everything that is wrong in the files.
 */
export async function askFiles(path: string): Promise<Ask> {
  const { policies } = await lintPolicyFiles(path)
  const told = new Set<string>()
  return async ({ agent, action, resource, context, policy }) => {
    if (typeof agent === 'string' && !told.has(agent)) {
      told.add(agent)
      note(`Nothing is known of ${plain(agent)} here: it is taken for unverified, without tags. Say more: { trustTier, tags }`)
    }
    const guard = createGuard({ source: fromPolicies(policy === undefined ? policies : only(policies, policy)) })
    return guard.explain(action, { agent: agentOf(agent), resource, context })
  }
}

/** An agent that is only described; no policy names it. */
const UNNAMED = 'described-by-the-test'

function agentOf(agent: PolicyTest['agent']): Agent {
  if (typeof agent !== 'string') return { id: UNNAMED, trustTier: agent.trustTier ?? 'unverified', tags: agent.tags }
  if (!isAgentId(agent)) throw new CliError(`${plain(agent)} is not an agent id`)
  return { id: agent, trustTier: 'unverified' }
}

function only(policies: Policies, name: string): Policies['policies'] {
  const found = policies.policies.filter((policy) => policy.name === name)
  if (found.length > 0) return found
  throw new CliError(
    `There is no policy "${plain(name)}". There are: ${policies.policies.map((policy) => policy.name).join(', ')}`,
  )
}
