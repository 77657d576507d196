import { createHmac, generateKeyPairSync, sign } from 'node:crypto'
import { agentTokens, mintAgentToken } from '@meshguard/core'
import { type TokenRecipe, vectors } from './bypass-vectors.js'

/** What signs the tokens of a deployment with a secret. */
export const SECRET = 'a secret of more than thirty-two bytes, for the replay'
const own = generateKeyPairSync('ed25519')
const attacker = generateKeyPairSync('rsa', { modulusLength: 2048 })
const pem = String(own.publicKey.export({ format: 'pem', type: 'spki' }))

/** How a deployment verifies tokens. */
export type Deployment = 'secret' | 'public key'

/** The guard's `authenticate` in both deployments. */
export const verifiers = {
  secret: agentTokens({ secret: SECRET }),
  'public key': agentTokens({ publicKey: pem }),
}

/** Which deployment a recipe is an attack on. */
export function deploymentOf(recipe: TokenRecipe | undefined): Deployment {
  return recipe?.signWith === undefined ? 'secret' : 'public key'
}

/** The tokens that the requests name: three agents, and every recipe by the name its case has without `jwt-`. */
export async function mintTokens(): Promise<ReadonlyMap<string, string>> {
  const tokens = new Map<string, string>()
  for (const id of ['agent-low', 'agent-all', 'agent-write', 'agent-low:read']) {
    tokens.set(id, await mintAgentToken({ id, trustTier: 'verified', key: SECRET }))
  }
  for (const { id, tokenRecipe } of vectors.cases) {
    if (tokenRecipe !== undefined) tokens.set(id.replace(/^jwt-/, ''), writeToken(tokenRecipe))
  }
  return tokens
}

/**
 * A token by hand, since no library would write one like it.
 *
 * @param publicKey Of the deployment that is attacked, as PEM.
 */
export function writeToken(
  { header, payload, payloadRaw, omit = [], signWith, signature }: TokenRecipe,
  publicKey: string = pem,
): string {
  const now = Math.floor(Date.now() / 1000)
  const claims: Record<string, unknown> = {
    sub: 'agent-low',
    iss: 'meshguard',
    iat: now,
    exp: now + 600,
    ...inNumbers(payload, now),
  }
  for (const claim of omit) delete claims[claim]
  const head = { alg: 'HS256', typ: 'JWT', ...inNumbers(header, now) }
  const input = [JSON.stringify(head), payloadRaw ?? JSON.stringify(claims)]
    .map((part) => Buffer.from(part).toString('base64url'))
    .join('.')
  return `${input}.${signature ?? signed(input, publicKey, signWith)}`
}

function signed(input: string, publicKey: string, signWith = ''): string {
  if (signWith === 'attacker key') return sign('sha256', Buffer.from(input), attacker.privateKey).toString('base64url')
  const secret = signWith.includes('PEM') ? publicKey : SECRET
  return createHmac('sha256', secret).update(input).digest('base64url')
}

/** The recipes say times and keys in words. */
function inNumbers(fields: Readonly<Record<string, unknown>> = {}, now: number): Record<string, unknown> {
  const read = Object.entries(fields).map(([name, value]) => {
    const [, sign = '+', amount = '0', years] = /^now([+-])?(\d+)?( years)?$/.exec(String(value)) ?? []
    const seconds = Number(amount) * (years === undefined ? 1 : 31_557_600) * (sign === '-' ? -1 : 1)
    if (typeof value === 'string' && value.startsWith('now')) return [name, now + seconds]
    if (value === '"9999999999" as a string') return [name, '9999999999']
    if (value === '{{AUD}}') return [name, 'contacts-api']
    return [name, value === 'attacker public key' ? attacker.publicKey.export({ format: 'jwk' }) : value]
  })
  return Object.fromEntries(read)
}
