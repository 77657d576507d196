/** Bundles as large as they may become. How long it takes is measured by `npm run bench -- bundle`. */
import { fromBundle, type PolicyDocument } from '@meshguard/core'
import { signBundle, verifyBundle } from '@meshguard/core/bundle'
import { expect, it } from 'vitest'
import { createPolicies } from '../../packages/core/src/policy/policies.js'
import { createSigner } from '../sources/bundle-binding.js'

const RULES = 10_000
const AGENTS = 100_000

const rule = (i: number) => ({
  name: `rule-${i}`,
  effect: i % 5 === 4 ? ('deny' as const) : ('allow' as const),
  actions: [`read:objects${i}`],
  ...(i % 3 === 0 && { conditions: { 'context.amount': { lte: i } } }),
})
const rules = Array.from({ length: RULES }, (_, i) => rule(i))
const signer = await createSigner()
const ask = (source: ReturnType<typeof fromBundle>, i: number, id = 'agent_new') =>
  source.decide({
    action: `read:objects${i}`,
    agent: { id, trustTier: 'verified' },
    context: { amount: i },
    traceId: 'trace-0001',
  })

it('10 000 rules and 100 000 revocations decide as they say', async () => {
  const agents = Object.fromEntries(Array.from({ length: AGENTS }, (_, i) => [`agent_${i}`, { revoked: true as const }]))
  const policies: PolicyDocument[] = Array.from({ length: RULES / 10 }, (_, i) => ({
    name: `policy-${i}`,
    rules: rules.slice(10 * i, 10 * i + 10),
  }))
  const jws = await signer.sign({ policies, agents })
  const source = fromBundle({ load: () => jws, ...signer.options })
  await source.refresh()
  for (let i = 0; i < RULES; i += 97) expect(ask(source, i)).toMatchObject({ rule: `rule-${i}`, allowed: i % 5 !== 4 })
  for (let i = 0; i < AGENTS; i += 997) expect(ask(source, 0, `agent_${i}`)).toMatchObject({ code: 'unauthenticated' })
  await source.close()
})

it('one policy of 10 000 rules is the same as if it was parsed at once', async () => {
  const policies: PolicyDocument[] = [{ name: 'large', description: 'x', appliesTo: { minTrustTier: 'verified' }, rules }]
  const { policies: parsed } = await verifyBundle(await signer.sign({ policies }), signer.options)
  const whole = createPolicies(policies)
  expect(parsed.version).toBe(whole.version)
  expect(parsed.policies).toEqual(whole.policies)
})

it('and what is wrong in one is named as if it was parsed at once', async () => {
  const refusal = async (document: unknown) =>
    verifyBundle(await signer.sign({ policies: [document as PolicyDocument] }), signer.options).then(
      () => 'accepted',
      ({ message }: Error) => message,
    )
  const at = (i: number, change: object) => rules.map((one, at) => (at === i ? { ...one, ...change } : one))
  expect(await refusal({ name: 'large', rules: at(7777, { effect: 'maybe' }) })).toMatch(/policies\[0\]: rules\[7777\]\.effect/)
  expect(await refusal({ name: 'large', rules: at(7777, { name: 'rule-3' }) })).toMatch(/rules\[7777\]\.name.*rules\[3\]/)
  expect(await refusal({ name: 'large', rules: [...rules, rule(RULES)] })).toMatch(/at most 10000 entries/)
  const { policies: unnamed } = await verifyBundle(
    await signer.sign({ policies: [{ name: 'large', rules: at(600, { name: undefined }) as never }] }),
    signer.options,
  )
  expect(unnamed.policies[0]?.rules[600]?.name).toBe('allow read:objects600')
})

it('more than 32 MiB is not signed', async () => {
  const now = Date.now()
  const agents = Object.fromEntries(
    Array.from({ length: 400 }, (_, i) => [
      `a${i}`,
      { tier: 'verified' as const, tags: [], gen: 0, metadata: { x: 'y'.repeat(100_000) } },
    ]),
  )
  const times = { issuedAt: new Date(now).toISOString(), expiresAt: new Date(now + 1000).toISOString() }
  const document = { version: 1, ...times, policies: [], agents, delegations: [], jwks: signer.tokens.jwks }
  await expect(signBundle(document, { key: signer.bundles.privateKey })).rejects.toThrow(/larger than 32 MiB/)
})
