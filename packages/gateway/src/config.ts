import type { Mode } from '@meshguard/core'

/** What the gateway runs with. Read once, from the environment or from options; times in ms, sizes in bytes. */
export interface GatewayConfig {
  readonly port: number
  readonly host: string
  readonly mode: Mode
  readonly databaseUrl: string
  readonly policiesDir?: string | undefined
  readonly dataDir: string
  readonly signingKeyFile: string
  readonly adminToken?: string | undefined
  readonly jwtSecret?: string | undefined
  readonly jwtExpiresInMs: number
  readonly proxy: {
    readonly target?: string | undefined
    /** `METHOD pattern` to action. */
    readonly routes?: ReadonlyMap<string, string> | undefined
    readonly headers: Readonly<Record<string, string>>
    readonly forwardAuthorization: boolean
    readonly timeoutMs: number
    readonly maxBody: number
  }
  readonly auditMode: 'durable' | 'async'
  readonly auditRetentionDays: number
  readonly rateLimitRpm: number
  readonly deniedRpm: number
  readonly corsOrigin?: string | undefined
  readonly logLevel: string
  /** Addresses and CIDR ranges. */
  readonly trustedProxies: readonly string[]
}
