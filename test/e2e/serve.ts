/** The gateway as a process of its own, as `meshguard serve` starts it. */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ROOT } from './build.js'
import { type Running, startNode } from './process.js'

export const ADMIN_TOKEN = 'an-admin-token-of-these-tests-alone-0123456789'

/** A gateway that runs, and what tests ask of it. */
export interface Served {
  readonly running: Running
  readonly url: string
  /** An admin call; answers the body. Fails for anything but 2xx. */
  admin<T>(path: string, body?: unknown): Promise<T>
  /** The status of a check, and its trace ID. */
  check(token: string, action: string, traceId?: string): Promise<number>
}

/** Starts a gateway on a free port with its data below a folder, by a policy that lets verified agents read. */
export async function serve(dataDir: string, env: NodeJS.ProcessEnv = {}): Promise<Served> {
  const policies = join(dataDir, 'policies')
  await mkdir(policies, { recursive: true })
  await writeFile(join(policies, 'readers.yaml'), 'name: readers\nrules:\n  - { effect: allow, actions: ["read:*"] }\n')
  const settings = {
    PORT: '0',
    DATA_DIR: dataDir,
    POLICIES_DIR: policies,
    ADMIN_TOKEN,
    LOG_LEVEL: 'warn',
    MODE: 'enforce',
    ...env,
  }
  const database = { DATABASE_URL: `sqlite:${join(dataDir, 'meshguard.db')}` }
  const running = startNode([join(ROOT, 'packages/cli/bin/meshguard.js'), 'serve'], { ...database, ...settings })
  const [url] = await running.printed(/http:\/\/127\.0\.0\.1:\d+/)
  return {
    running,
    url,
    async admin<T>(path: string, body?: unknown): Promise<T> {
      const headers = { 'x-admin-token': ADMIN_TOKEN, 'content-type': 'application/json' }
      const sent = body === undefined ? { headers } : { method: 'POST', headers, body: JSON.stringify(body) }
      const answer = await fetch(`${url}/admin${path}`, sent)
      if (!answer.ok) throw new Error(`${path} was answered ${answer.status}: ${await answer.text()}`)
      return (await answer.json()) as T
    },
    async check(token, action, traceId) {
      const trace = traceId === undefined ? {} : { 'x-meshguard-trace-id': traceId }
      const headers = { authorization: `Bearer ${token}`, 'x-meshguard-action': action, ...trace }
      const answer = await fetch(`${url}/proxy/check`, { headers })
      await answer.arrayBuffer()
      return answer.status
    },
  }
}
