import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TrustTier } from '@meshguard/core'
import type { Gateway, GatewayOptions } from '@meshguard/gateway'
import { afterAll } from 'vitest'
import { assembleGateway } from '../../packages/gateway/src/create-gateway.js'
import type { Services } from '../../packages/gateway/src/services.js'
import type { AgentRecord, Scope } from '../../packages/gateway/src/store/store.js'
import { type PostgresServer, usePostgres } from '../postgres/server.js'

/** The admin token of every gateway in a test, unless it is given another one. */
export const ADMIN_TOKEN = 'test-admin-token-0123456789abcdef0123456789'

/** What the policies of a gateway in a test say, unless it is given others: verified agents read, nobody touches `admin`. */
export const POLICY = {
  name: 'test',
  rules: [
    { effect: 'deny', actions: ['*:admin', '*:admin/*'] },
    { effect: 'allow', actions: ['read:*'] },
  ],
}

/** How a gateway in a test differs from the usual one. */
export interface WorldOptions extends GatewayOptions {
  /** Policy documents, written as JSON into `POLICIES_DIR`. Default {@link POLICY}; none if it is empty. */
  readonly policies?: readonly object[]
}

/** An agent of a gateway, with a token. */
export interface WorldAgent {
  readonly id: string
  readonly token: string
  readonly record: AgentRecord
}

/** A gateway on a real socket, in a folder of its own. */
export interface World {
  /** Without a `/` at its end. */
  readonly url: string
  readonly port: number
  readonly adminToken: string
  readonly gateway: Gateway
  readonly services: Services
  /** Its temporary folder; `policies` and `data` are in it. */
  readonly folder: string
  /** Puts an agent into the registry and signs a token for it. */
  createAgent(agent?: {
    id?: string
    name?: string
    trustTier?: TrustTier
    tags?: string[]
    metadata?: object
  }): Promise<WorldAgent>
  /** Makes a service token. */
  createService(...scopes: Scope[]): Promise<string>
  /** `fetch` of a path, redirects not followed. */
  fetch(path: string, init?: RequestInit): Promise<Response>
  /** With the admin token, and a body as JSON. */
  admin(method: string, path: string, body?: unknown): Promise<Response>
  /** Closes it and removes its folder. */
  close(): Promise<void>
}

let made = 0

/**
 * Starts a gateway on a free port. Options replace those of the test: `logLevel: 'silent'`, a new data folder, the admin token
 * {@link ADMIN_TOKEN}.
 */
export async function startGateway(options: WorldOptions = {}): Promise<World> {
  const { policies = [POLICY], ...overrides } = options
  const folder = await mkdtemp(join(tmpdir(), 'meshguard-gateway-'))
  try {
    return await startIn(folder, policies, overrides)
  } catch (error) {
    await rm(folder, { recursive: true, force: true })
    throw error
  }
}

/** Runs with a gateway of its own, and the headers of an agent `agent-1`, as long as `run` takes. */
export async function withGateway(
  options: WorldOptions,
  run: (own: World, headers: Record<string, string>) => Promise<void>,
): Promise<void> {
  const own = await startGateway(options)
  try {
    const { token } = await own.createAgent({ id: 'agent-1' })
    await run(own, { authorization: `Bearer ${token}` })
  } finally {
    await own.close()
  }
}

async function startIn(folder: string, policies: readonly object[], overrides: GatewayOptions): Promise<World> {
  const policiesDir = await writePolicies(folder, policies)
  const { gateway, services } = await assembleGateway({
    port: 0,
    dataDir: join(folder, 'data'),
    adminToken: ADMIN_TOKEN,
    logLevel: 'silent',
    ...(policiesDir !== undefined && { policiesDir }),
    ...(await sharedStore(folder)),
    ...overrides,
  })
  const { url, port } = await gateway.listen()
  const adminToken = gateway.adminToken ?? overrides.adminToken ?? ADMIN_TOKEN
  const fetchPath = (path: string, init: RequestInit = {}) => fetch(`${url}${path}`, { redirect: 'manual', ...init })
  return {
    url,
    port,
    adminToken,
    gateway,
    services,
    folder,
    createAgent: (agent) => createAgent(services, agent),
    createService: (...scopes) => createService(services, scopes),
    fetch: fetchPath,
    admin(method, path, body) {
      const headers = { 'x-admin-token': adminToken, ...(body !== undefined && { 'content-type': 'application/json' }) }
      return fetchPath(path, { method, headers, ...(body !== undefined && { body: JSON.stringify(body) }) })
    },
    async close() {
      await gateway.close()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

let server: Promise<PostgresServer> | undefined

/** With `MESHGUARD_STORE=postgres` every gateway has a database in PostgreSQL. */
async function sharedStore(folder: string): Promise<GatewayOptions> {
  if (process.env['MESHGUARD_STORE'] !== 'postgres') return {}
  server ??= usePostgres()
  const databaseUrl = await (await server).createDatabase()
  return { databaseUrl, signingKeyFile: join(folder, 'data', 'keys', 'signing-keys.json') }
}

if (process.env['MESHGUARD_STORE'] === 'postgres') afterAll(async () => (await server)?.close())

async function writePolicies(folder: string, policies: readonly object[]): Promise<string | undefined> {
  if (policies.length === 0) return undefined
  const policiesDir = await mkdtemp(join(folder, 'policies-'))
  await Promise.all(policies.map((policy, i) => writeFile(join(policiesDir, `${i}.json`), JSON.stringify(policy))))
  return policiesDir
}

async function createAgent(
  { store, keys, now }: Services,
  agent: Parameters<World['createAgent']>[0] = {},
): Promise<WorldAgent> {
  const id = agent.id ?? `agent-${++made}`
  const record: AgentRecord = {
    id,
    name: agent.name ?? id,
    trustTier: agent.trustTier ?? 'verified',
    tags: agent.tags ?? [],
    metadata: { ...agent.metadata },
    status: 'active',
    generation: 0,
    createdAt: now(),
    updatedAt: now(),
  }
  await store.agents.insert(record)
  const { token } = await keys.mint(record)
  return { id, token, record }
}

async function createService({ store, now }: Services, scopes: readonly Scope[]): Promise<string> {
  const token = `msvc_${crypto.randomUUID()}${crypto.randomUUID()}`
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(token))
  await store.tokens.insert({
    id: crypto.randomUUID(),
    name: 'test',
    scopes,
    hash: Buffer.from(digest).toString('hex'),
    createdAt: now(),
  })
  return token
}
