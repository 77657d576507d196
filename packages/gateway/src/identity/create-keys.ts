import { createPrivateKey, createPublicKey, type KeyObject, sign, verify } from 'node:crypto'
import { AuthenticationError, mintAgentToken } from '@meshguard/core'
import { BUNDLE_TYPE, signBundle } from '@meshguard/core/bundle'
import { isPromise } from '@meshguard/core/http'
import { tokenClaims } from '@meshguard/core/tokens'
import { decodeJwt } from 'jose'
import type { Logger } from 'pino'
import type { GatewayConfig } from '../config.js'
import { badRequest, conflict } from '../http/errors.js'
import type { AgentRecord, DelegationRecord } from '../store/store.js'
import { type KeyFile, type KeyKind, openKeyFile, rotateKeyFile, stampOf } from './key-file.js'
import type { Claims, Keys, MintOptions } from './keys.js'

/** What {@link createKeys} works with. */
export interface KeysParts {
  readonly config: Pick<GatewayConfig, 'signingKeyFile' | 'jwtSecret' | 'jwtExpiresInMs'>
  readonly log: Logger
  /** Milliseconds since the epoch. */
  readonly now: () => number
}

const DAY_MS = 86_400_000
/** How long a bundle is valid. */
export const BUNDLE_LIFE_MS = DAY_MS

/**
 * Opens the keys of a gateway, which are made on first start.
 *
 * @throws Error when the key file cannot be read or written, or others can use it.
 */
export async function createKeys({ config, log, now }: KeysParts): Promise<Keys> {
  const { signingKeyFile, jwtSecret, jwtExpiresInMs } = config
  const maxTokenAgeMs = Math.max(DAY_MS, jwtExpiresInMs)
  let file = await openKeyFile(signingKeyFile, (message) => log.warn(message))
  let verifyToken = tokenVerifier(file)
  let stamp = await stampOf(signingKeyFile)
  let refreshing: Promise<boolean> | undefined
  let rotating: Promise<unknown> = Promise.resolve()
  const checkpoints = checkpointSigner(file)

  function tokenVerifier(keys: KeyFile): (token: string) => Claims | Promise<Claims> {
    const jwks = { keys: publicKeysOf(keys.token, keys.retired, now()) }
    return tokenClaims({ jwks, secret: jwtSecret, maxTokenAgeMs, clock: now })
  }

  async function look(): Promise<boolean> {
    const newest = await stampOf(signingKeyFile)
    if (newest === stamp || newest === undefined) return false
    stamp = newest
    try {
      const found = await openKeyFile(signingKeyFile, (message) => log.warn(message))
      if (found.checkpoint.kid !== file.checkpoint.kid) throw new Error('it has another key for the audit log')
      file = found
    } catch (error) {
      log.error({ err: error }, 'SIGNING_KEY_FILE was changed and is not taken over: the keys stay as they were')
      return false
    }
    verifyToken = tokenVerifier(file)
    log.info({ kid: file.token.kid }, 'the signing keys were read again')
    return true
  }

  function refresh(): Promise<boolean> {
    refreshing ??= look().finally(() => {
      refreshing = undefined
    })
    return refreshing
  }

  /** A token that does not verify may be signed with a key that another gateway has just made. */
  async function verifyAgain(token: string, error: unknown, verified: typeof verifyToken): Promise<Claims> {
    if (error instanceof AuthenticationError) await refresh()
    if (verifyToken === verified) throw error
    return verifyToken(token)
  }

  function verifyOrRefresh(token: string): Claims | Promise<Claims> {
    const verified = verifyToken
    const claims = verified(token)
    return isPromise(claims) ? claims.catch((error) => verifyAgain(token, error, verified)) : claims
  }

  async function rotate(kind: KeyKind): Promise<void> {
    if (jwtSecret !== undefined) throw conflict('JWT_SECRET signs the tokens: change it there')
    await refresh()
    file = await rotateKeyFile(signingKeyFile, file, now(), kind, kind === 'token' ? maxTokenAgeMs : BUNDLE_LIFE_MS)
    stamp = await stampOf(signingKeyFile)
    if (kind === 'token') verifyToken = tokenVerifier(file)
    log.info({ kid: file[kind].kid, kind }, 'the signing key was rotated')
  }

  const tokenKeys = () => (jwtSecret === undefined ? publicKeysOf(file.token, file.retired, now()) : [])
  const bundleKeys = () => (jwtSecret === undefined ? publicKeysOf(file.bundle, file.retiredBundles, now()) : [])

  return {
    maxTokenAgeMs,
    jwks: () => ({ keys: tokenKeys() }),
    published: () => ({
      keys: [
        ...tokenKeys().map((key) => ({ ...key, typ: 'JWT' })),
        ...bundleKeys().map((key) => ({ ...key, typ: BUNDLE_TYPE })),
      ],
    }),
    verify: verifyOrRefresh,
    refresh,
    async mint(agent, options = {}) {
      const { expiresInMs = jwtExpiresInMs } = options
      if (!(expiresInMs >= 1000 && expiresInMs <= maxTokenAgeMs)) {
        const message = `must be from 1 s to ${maxTokenAgeMs / 1000} s`
        throw badRequest('The token cannot live so long', [{ path: 'expiresIn', message }])
      }
      await refresh()
      const token = await mintAgentToken({
        ...tokenOf(agent, options),
        audience: AUDIENCE,
        expiresInMs,
        key: jwtSecret ?? file.token,
        clock: now,
      })
      const { exp, jti } = decodeJwt(token)
      return { token, expiresAt: (exp as number) * 1000, jti: jti as string }
    },
    bundleKid: () => file.bundle.kid,
    signBundle: (document) => signBundle(document, { key: file.bundle, kid: file.bundle.kid }),
    rotate(kind = 'token') {
      const rotated = rotating.then(() => rotate(kind))
      rotating = rotated.catch(() => undefined)
      return rotated
    },
    ...checkpoints,
  }
}

/** Keys of which what they signed may still live. */
function publicKeysOf(key: KeyFile['token'], retired: KeyFile['retired'], now: number): Omit<KeyFile['token'], 'd'>[] {
  const { d: _, ...current } = key
  return [current, ...retired.filter(({ until }) => until > now).map(({ key }) => key)]
}

/** Of every token, whoever it is shown to: an application that asks for another audience wants tokens of another issuer. */
const AUDIENCE = 'meshguard'

function tokenOf(agent: AgentRecord, { chain = [] }: MintOptions): Omit<Parameters<typeof mintAgentToken>[0], 'key'> {
  const { id, name, trustTier, tags, metadata, generation: gen } = agent
  const { orgId } = metadata
  const claims = { gen, ...(typeof orgId === 'string' && { orgId }) }
  const [root] = chain
  if (root === undefined) return { id, name, trustTier, tags, claims }
  return {
    id: root.from,
    claims: { gen, act: actorsOf(chain), delegation: chain.map(({ id, actions }) => ({ id, actions })) },
  }
}

/** RFC 8693, 4.1: the outermost actor is the current one. */
function actorsOf(chain: readonly DelegationRecord[]): object | undefined {
  return chain.reduce<object | undefined>((act, { to }) => ({ sub: to, ...(act && { act }) }), undefined)
}

const CHECKPOINT_TYPE = 'meshguard-checkpoint+jws'

/** A checkpoint is signed with every commit of the audit log: with key objects, synchronously, as compact JWS (RFC 7515, 7.1). */
function checkpointSigner({ checkpoint }: KeyFile): Pick<Keys, 'signCheckpoint' | 'verifyCheckpoint'> {
  const privateKey: KeyObject = createPrivateKey({ key: checkpoint, format: 'jwk' })
  const publicKey = createPublicKey(privateKey)
  const header = encode({ alg: checkpoint.alg, typ: CHECKPOINT_TYPE, kid: checkpoint.kid })
  return {
    async signCheckpoint(payload) {
      const signed = `${header}.${encode(payload)}`
      return `${signed}.${sign(null, Buffer.from(signed), privateKey).toString('base64url')}`
    },
    async verifyCheckpoint(jws) {
      const [head, payload, signature, ...rest] = jws.split('.')
      if (head !== header || payload === undefined || signature === undefined || rest.length > 0) {
        throw new Error('The checkpoint is not one of this gateway')
      }
      if (!verify(null, Buffer.from(`${head}.${payload}`), publicKey, Buffer.from(signature, 'base64url'))) {
        throw new Error('The signature of the checkpoint is not ours')
      }
      return JSON.parse(Buffer.from(payload, 'base64url').toString()) as Claims
    },
  }
}

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}
