import {
  agentTokens,
  auditToConsole,
  createGuard,
  fromPolicies,
  type Guard,
  generateKeys,
  mintAgentToken,
} from '@meshguard/core'

/** A guard whose policies let agents read, and trusted ones write; and a token of a trusted agent to try it with. */
export async function createDemo(): Promise<{ guard: Guard; token: string }> {
  const { privateKey, publicKey } = await generateKeys()
  const guard = createGuard({
    source: fromPolicies([
      { name: 'readers', rules: [{ effect: 'allow', actions: ['read:notes', 'read:reports'] }] },
      { name: 'writers', appliesTo: { minTrustTier: 'trusted' }, rules: [{ effect: 'allow', actions: ['write:notes'] }] },
    ]),
    authenticate: agentTokens({ publicKey }),
    audit: auditToConsole(),
  })
  return { guard, token: await mintAgentToken({ id: 'agent_demo', trustTier: 'trusted', key: privateKey }) }
}
