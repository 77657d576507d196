import type { Check, Decision } from '@meshguard/core'
import { OperatorClient } from './operator-client.js'
import type { CallOptions, CheckOptions, ProxyOptions } from './options.js'
import type { GatewayInfo, Health } from './records.js'

const notYet = (): never => {
  throw new Error('being written')
}

/** A block that is governed: it began because the action was allowed. */
export interface GovernedScope extends AsyncDisposable {
  readonly decision: Decision
}

export class MeshGuardClient extends OperatorClient {
  /** The decision for 200, 403 and a decision's 429; rejects for 401, 5xx and no connection. */
  async check(_action: string, _options: CheckOptions = {}): Promise<Decision> {
    return notYet()
  }
  async enforce(_action: string, _options: CheckOptions = {}): Promise<Decision> {
    return notYet()
  }
  govern<T>(action: string, work: (decision: Decision) => T | Promise<T>, options?: CheckOptions): Promise<T>
  govern(action: string, options?: CheckOptions): Promise<GovernedScope>
  async govern(_action: string, _work?: unknown, _options: CheckOptions = {}): Promise<unknown> {
    return notYet()
  }
  async checkMany(_checks: readonly Check[], _options: CallOptions = {}): Promise<Decision[]> {
    return notYet()
  }

  async get(_path: string, _options: ProxyOptions = {}): Promise<Response> {
    return notYet()
  }
  async post(_path: string, _options: ProxyOptions = {}): Promise<Response> {
    return notYet()
  }
  async put(_path: string, _options: ProxyOptions = {}): Promise<Response> {
    return notYet()
  }
  async patch(_path: string, _options: ProxyOptions = {}): Promise<Response> {
    return notYet()
  }
  async delete(_path: string, _options: ProxyOptions = {}): Promise<Response> {
    return notYet()
  }
  async request(_method: string, _path: string, _options: ProxyOptions = {}): Promise<Response> {
    return notYet()
  }

  /** How the gateway is, degraded and 503 included. */
  async health(_options: CallOptions = {}): Promise<Health> {
    return notYet()
  }
  /** Whether it answers and is `healthy`; never rejects, except for an aborted signal. */
  async isHealthy(_options: CallOptions = {}): Promise<boolean> {
    return notYet()
  }
  async info(_options: CallOptions = {}): Promise<GatewayInfo> {
    return notYet()
  }

  async close(): Promise<void> {}
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}
