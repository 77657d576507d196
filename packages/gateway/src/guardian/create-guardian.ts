import { type AuditSink, type BundleSource, createGuard } from '@meshguard/core'
import { type Logger, pino } from 'pino'
import { bareApp } from '../http/bare-app.js'
import { logDestination } from '../log-destination.js'
import { createHttpServer, type Listening } from '../server.js'
import { guardianRoutes } from './guardian-routes.js'

/** What {@link createGuardian} takes. */
export interface GuardianOptions {
  /** Decides; closed with the guardian. */
  readonly source: BundleSource
  /** Records every decision; closed with the guardian. A sink that counts what it lost has that told by `/health`. */
  readonly audit?: (AuditSink & { readonly dropped?: object }) | undefined
  /** Default `'enforce'`. `'audit'` records what the policies say and lets agents go on. */
  readonly mode?: 'enforce' | 'audit' | undefined
  /**
   * The token of the agent that the guardian stands beside, for requests that bring none; asked at each of them. Whoever can
   * connect is then taken for that agent: only for a guardian that listens on loopback. Default: none, every request brings its own.
   */
  readonly ownToken?: (() => string | undefined) | undefined
  /** Where the guardian logs what failed. Default: JSON lines on stderr. */
  readonly logger?: Logger | undefined
}

/** A guardian that does not listen yet. */
export interface Guardian extends AsyncDisposable {
  /**
   * Listens.
   *
   * @throws Error of the system, with its `code`, like `EADDRINUSE`.
   */
  listen(port: number, host: string): Promise<Listening>
  /** Takes no more requests, finishes those that run within 3 s, stops asking for bundles, and ships what waits to be recorded. */
  close(): Promise<void>
}

const GRACE_MS = 3000
/** Failed authentications a minute that are told what they are, as in the gateway. */
const RATE_LIMIT_RPM = 600

/**
 * Makes a guardian: `/proxy/check`, `/enforce`, `/enforce/batch` and `/health` over a signed bundle, for programs in any language
 * on the same machine. It decides as the gateway does, and goes on when that is gone; without a good bundle it answers 503.
 *
 * @example
 * ```ts
 * const source = fromBundle({ url, token, jwks: `${url}/.well-known/jwks.json`, cache: cacheInFile('bundle.jws') })
 * const guardian = createGuardian({ source, audit: auditToGateway({ url, token }) })
 * const { url: here } = await guardian.listen(4000, '127.0.0.1')
 * ```
 */
export function createGuardian({ source, audit, mode = 'enforce', ownToken, logger = toStderr() }: GuardianOptions): Guardian {
  const guard = createGuard({ source, audit: audit && claimedIn(audit), mode })
  const app = bareApp(logger, { trustedProxies: [], rateLimitRpm: RATE_LIMIT_RPM })
  app.route('/', guardianRoutes({ source, guard, ownToken, losses: () => audit?.dropped }))
  const server = createHttpServer(app, logger)
  let closing: Promise<void> | undefined
  const close = (): Promise<void> => {
    closing ??= server.close(GRACE_MS).finally(() => guard.close())
    return closing
  }
  return Object.freeze({
    listen: (port: number, host: string) => server.listen(port, host),
    close,
    [Symbol.asyncDispose]: close,
  })
}

/** What an agent asks for here is its own word, as at `/proxy/check` of the gateway: its entries say `claimed`. */
function claimedIn(sink: AuditSink): AuditSink {
  return {
    record: (event, request) => sink.record(event.type === 'decision' ? { ...event, claimed: true } : event, request),
    close: async () => sink.close?.(),
  }
}

function toStderr(): Logger {
  return pino({ name: 'meshguard-guardian', level: 'error' }, logDestination(2))
}
