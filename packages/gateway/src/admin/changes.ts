import type { Context } from 'hono'
import type { GatewayEnv, Services } from '../services.js'

/** One change by an operator, as it is recorded. */
export interface Change {
  /** `admin:agents/update`. */
  readonly action: `admin:${string}`
  /** `agents/agent_…`. */
  readonly resource: string
  readonly before?: unknown
  readonly after?: unknown
}

/**
 * Records a change *before* it is made: one that cannot be recorded is not made. Its code, `administered`, keeps it out of what
 * is counted of decisions.
 *
 * @throws UnavailableError when it cannot be recorded.
 */
export async function record(services: Services, c: Context<GatewayEnv>, change: Change): Promise<void> {
  const { action, resource, before, after } = change
  const { method, path } = c.req
  await services.audit.append({
    traceId: c.get('traceId'),
    action,
    resource,
    decision: 'allow',
    code: 'administered',
    mode: services.config.mode,
    source: 'admin',
    request: { method, path, ip: c.get('ip') },
    operator: c.get('operator'),
    metadata: { before, after },
  })
}

const last = new WeakMap<Services, Promise<unknown>>()

/**
 * Runs the changes of one gateway one after the other, so that each is judged, and recorded, by what the one before left.
 *
 * @returns what the change made.
 */
export function inTurn<T>(services: Services, change: () => Promise<T>): Promise<T> {
  const done = (last.get(services) ?? Promise.resolve()).then(change, change)
  last.set(services, done)
  return done
}
