import { gzipSync } from 'node:zlib'
import type { PolicyDocument } from '@meshguard/core'
import type { AuditEntry } from '../../packages/gateway/src/audit/audit-log.js'
import { startGateway, type World } from '../gateway/gateway-world.js'
import { open, type Received, startUpstream, type Upstream } from '../gateway/upstream.js'
import { SECRET } from './bypass-tokens.js'
import { type Vector, vectors } from './bypass-vectors.js'

/** One answer of what came over a connection. */
export interface Answer {
  readonly status: number
  /** By lower-case name; the last of equal ones. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

/** What one case led to. */
export interface Seen {
  readonly text: string
  readonly answers: readonly Answer[]
  readonly forwarded: readonly Received[]
  readonly recorded: readonly AuditEntry[]
  /** Connections to the server that nobody may be led to. */
  readonly strayed: number
}

/** A gateway with the agents of the cases, a recording upstream behind it, and a canary beside it. */
export interface GatewayTarget {
  readonly world: World
  readonly upstream: Upstream
  /** Fills the placeholders of a case in; nothing is normalised. */
  bytesOf(rawRequest: string, tokens: ReadonlyMap<string, string>): string
  send(bytes: string): Promise<Seen>
  close(): Promise<void>
}

/** The agents that the cases speak of. */
export const AGENTS = ['agent-low', 'agent-all', 'agent-write', 'agent-low:read']

/** The policies of a case, one document a name. */
export function policiesOf(name: string): readonly PolicyDocument[] {
  return vectors.policies[name] as readonly PolicyDocument[]
}

/**
 * Starts one.
 *
 * @param jwtSecret Default the secret that the cases' tokens are signed with; `null` for a gateway with a key pair.
 */
export async function startTarget(policies: readonly object[], jwtSecret: string | null = SECRET): Promise<GatewayTarget> {
  const [upstream, canary] = await Promise.all([startUpstream(), startUpstream()])
  const world = await startGateway({
    policies,
    proxy: { target: `${upstream.origin}/base/` },
    ...(jwtSecret !== null && { jwtSecret }),
  })
  for (const id of AGENTS) await world.createAgent({ id })
  const bytesOf = (rawRequest: string, tokens: ReadonlyMap<string, string>) =>
    fill(rawRequest, tokens, {
      HOST: `127.0.0.1:${world.port}`,
      GATEWAY: `127.0.0.1:${world.port}`,
      CANARY: `127.0.0.1:${canary.port}`,
      ADMIN_TOKEN: world.adminToken,
    })
  return {
    world,
    upstream,
    bytesOf,
    async send(bytes) {
      const before = upstream.received.length
      const newest = await world.services.audit.newest()
      const connection = open(world.port)
      connection.write(bytes)
      const text = await connection.end()
      connection.socket.destroy()
      const { items } = await world.services.audit.query({ limit: 1000 })
      const seen = items.findIndex(({ id }) => id === newest)
      return {
        text,
        answers: answersIn(text),
        forwarded: upstream.received.slice(before),
        recorded: items.slice(0, seen < 0 ? items.length : seen).reverse(),
        strayed: canary.connections(),
      }
    },
    async close() {
      await world.close()
      await Promise.all([upstream.close(), canary.close()])
    },
  }
}

const LENGTH = /\{\{(?:CONTENT_LENGTH|LEN)\}\}/g

function fill(rawRequest: string, tokens: ReadonlyMap<string, string>, values: Readonly<Record<string, string>>): string {
  const filled = rawRequest
    .replace(/\{\{REPEAT:([^:]+):(\d+)\}\}/g, (_, text: string, times: string) => text.repeat(Number(times)))
    .replace(/\{\{GZIP:1GB of spaces\}\}/g, () => gzipSync(Buffer.alloc(1 << 26, ' ')).toString('latin1'))
    .replace(/\{\{(?:TOKEN|JWT):([\w-]+)\}\}/g, (_, name: string) => known(tokens.get(name), name))
    .replace(/\{\{([A-Z_]+)\}\}/g, (whole, name: string) => (whole.match(LENGTH) ? whole : known(values[name], name)))
  const end = filled.indexOf('\r\n\r\n')
  return filled.replace(LENGTH, String(filled.length - end - 4))
}

function known(value: string | undefined, name: string): string {
  if (value === undefined) throw new Error(`Nothing is known of {{${name}}}`)
  return value
}

const HEAD = /HTTP\/1\.1 (\d{3}) [^\r\n]*\r\n((?:[^\r\n]+\r\n)*)\r\n/g

/** The answers of a connection, in order; informational ones included. */
function answersIn(text: string): Answer[] {
  const heads = [...text.matchAll(HEAD)]
  return heads.map((head, i) => ({
    status: Number(head[1]),
    headers: Object.fromEntries(
      (head[2] as string)
        .split('\r\n')
        .filter((line) => line !== '')
        .map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]),
    ),
    body: text.slice(head.index + head[0].length, heads[i + 1]?.index),
  }))
}

const KEPT = /^\/(?:proxy|admin|access|v1|health)(?![\w-])/
const OF_TARGETS = new Set(['http-version', 'admin-auth', 'cors', 'upgrade', 'method', 'request-smuggling', 'header-smuggling'])

/** A case as the gateway is asked it: what is meant for an app goes through the proxy. */
export function rawRequestOf({ id, class: kind, rawRequest }: Vector): string {
  const [, method, target, rest] = /^(\S+) (\S+)([\s\S]*)$/.exec(rawRequest) as unknown as [string, string, string, string]
  if (id.startsWith('proxy-') || OF_TARGETS.has(kind) || KEPT.test(target)) return rawRequest
  return `${method} /proxy${target}${rest}`
}
