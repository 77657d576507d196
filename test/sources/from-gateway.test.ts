import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { createGuard, type DecisionRequest, fromGateway } from '@meshguard/core'
import { build } from 'esbuild'
import { Miniflare } from 'miniflare'
import { afterEach, describe, expect, it } from 'vitest'
import { Breaker } from '../../packages/core/src/transport/breaker.js'
import { allowing, decisions, denied, itemsOf, type Script, type ScriptedGateway, scriptGateway } from './scripted-gateway.js'

const run = promisify(execFile)
const service = 'msvc_service'
const request = { action: 'read:contacts', token: 'agent-token', traceId: 'trace-0001' }
const open: { close(): Promise<void> }[] = []
afterEach(async () => {
  for (const one of open.splice(0)) await one.close()
})

async function script(answer: Script = allowing): Promise<ScriptedGateway> {
  const gateway = await scriptGateway(answer)
  open.push(gateway)
  return gateway
}

describe('fromGateway', () => {
  it('without a service token asks as the agent itself would', async () => {
    const gateway = await script()
    const source = fromGateway({ url: `${gateway.url}/` })
    await source.decide({ ...request, resource: 'contacts/a b', context: { name: 'Zoë 🦊' } })
    expect(gateway.asked).toMatchObject([{ method: 'GET', path: '/proxy/check', body: '' }])
    expect(gateway.asked[0]?.headers).toMatchObject({
      authorization: 'Bearer agent-token',
      'x-meshguard-action': 'read:contacts',
      'x-meshguard-resource': 'contacts/a b',
      'x-meshguard-context': '{"name":"Zo\\u00eb \\ud83e\\udd8a"}',
      'x-meshguard-trace-id': 'trace-0001',
    })
  })

  it('with a service token sends the token of each agent, or its id, and what is known of the request', async () => {
    const gateway = await script()
    const source = fromGateway({ url: `${gateway.url}/meshguard`, token: service })
    const agent = { id: 'agent_1', trustTier: 'privileged', tags: ['not-told'] }
    const info = { method: 'GET', route: '/contacts/:id', ip: '192.0.2.1' }
    await source.decide({ ...request, agent, request: info, context: { a: 1 } })
    expect(gateway.asked[0]?.path).toBe('/meshguard/v1/checks')
    expect(itemsOf(gateway.asked[0] as never)).toEqual([{ ...request, request: info, context: { a: 1 } }])
  })

  it('waits for more checks than ten of one signal without a warning of a leak, and for none of them once it is aborted', async () => {
    const warnings: string[] = []
    const note = ({ message }: Error) => warnings.push(message)
    process.on('warning', note)
    const caller = new AbortController()
    for (const token of [undefined, service]) {
      const gateway = await script(() => undefined)
      const guard = createGuard({ source: fromGateway({ url: gateway.url, token }) })
      const asked = { token: request.token, signal: caller.signal }
      const waiting = Array.from({ length: 20 }, () => guard.check(request.action, asked))
      if (token === service) caller.abort()
      if (token === service) expect((await Promise.all(waiting)).map(({ code }) => code)).toEqual(Array(20).fill('unavailable'))
    }
    await new Promise(setImmediate)
    process.off('warning', note)
    expect(warnings).toEqual([])
  })

  it('names an agent without a token by its id alone', async () => {
    const gateway = await script()
    const source = fromGateway({ url: gateway.url, token: service })
    const agent = { id: 'agent_1', trustTier: 'privileged', tags: ['not-told'] }
    await Promise.all([source.decide({ ...request, token: undefined, agent }), source.decide({ ...request, agent })])
    const { action, traceId } = request
    expect(itemsOf(gateway.asked[0] as never)).toEqual([
      { agentId: 'agent_1', action, traceId },
      { token: 'agent-token', action, traceId },
    ])
    expect(gateway.asked[0]?.headers['authorization']).toBe(`Bearer ${service}`)
  })

  it('sends what is asked in one turn together, at most 64 at once, and what waits with the next', async () => {
    const gateway = await script()
    const source = fromGateway({ url: gateway.url, token: service })
    const ask = (i: number) => source.decide({ ...request, token: `t${i}`, traceId: `trace-${1000 + i}` })
    const answers = await Promise.all(Array.from({ length: 300 }, (_, i) => ask(i)))
    expect(answers.every(({ allowed }) => allowed)).toBe(true)
    const batches = gateway.asked.map((asked) => itemsOf(asked).map(({ token }) => token))
    expect(batches.map(({ length }) => length).sort()).toEqual([44, 64, 64, 64, 64])
    expect(new Set(batches.flat())).toEqual(new Set(Array.from({ length: 300 }, (_, i) => `t${i}`)))
  })

  it('asks for many in order, 64 at a time', async () => {
    const gateway = await script()
    const source = fromGateway({ url: gateway.url, token: service })
    const requests = Array.from({ length: 130 }, (_, i): DecisionRequest => ({ ...request, action: `read:x${i}` }))
    const answers = await source.decideMany?.(requests)
    expect(answers).toHaveLength(130)
    expect(gateway.asked.map((asked) => itemsOf(asked).length)).toEqual([64, 64, 2])
  })

  it('says nothing to the gateway of what cannot be asked', async () => {
    const gateway = await script()
    const alone = fromGateway({ url: gateway.url })
    const agent = { id: 'agent_1', trustTier: 'verified' }
    const codeOf = async (asked: Partial<DecisionRequest>) => (await alone.decide({ ...request, ...asked })).code
    expect(await codeOf({ token: undefined })).toBe('unauthenticated')
    expect(await codeOf({ token: 'a b' })).toBe('unauthenticated')
    expect(await codeOf({ token: 'x'.repeat(8193) })).toBe('unauthenticated')
    expect(await codeOf({ action: 'read:*' })).toBe('invalid_action')
    expect(await codeOf({ token: undefined, agent })).toBe('unavailable')
    for (const resource of ['', ' a', 'a ', 'ü', 'a\r\nx-meshguard-action: write:x']) {
      expect(await codeOf({ resource }), JSON.stringify(resource)).toBe('unavailable')
    }
    const cyclic: Record<string, unknown> = {}
    cyclic['self'] = cyclic
    for (const context of [cyclic, { n: 1n }, { text: 'x'.repeat(5000) }]) expect(await codeOf({ context })).toBe('unavailable')
    await alone.close()
    expect(await codeOf({})).toBe('unavailable')
    expect(gateway.asked).toEqual([])
  })

  it('passes on only reasons that an author wrote', async () => {
    const reasonOf = async (message: string) => {
      const gateway = await script((asked) => {
        const { status, ...body } = denied(String(asked.headers['x-meshguard-action']), 'trace-0001', { message })
        return { status, body }
      })
      return (await fromGateway({ url: gateway.url }).decide(request)).reason
    }
    expect(await reasonOf('Ask Ann first')).toBe('Ask Ann first')
    expect(await reasonOf('Denied by rule: r')).toBeUndefined()
    expect(await reasonOf('Action read:contacts is not allowed')).toBeUndefined()
  })

  it('takes a rate limit with its time and words', async () => {
    const limited = { code: 'rate_limited', error: 'rate_limited', retry_after: 7, limit: '5 requests per 10 seconds' }
    const gateway = await script(({ path }) =>
      path === '/v1/checks'
        ? decisions([{ status: 429, ...limited }])
        : { status: 429, body: limited, headers: { 'x-meshguard-decision': 'deny' } },
    )
    for (const token of [undefined, service]) {
      const answer = await fromGateway({ url: gateway.url, token }).decide(request)
      expect(answer).toMatchObject({ code: 'rate_limited', retryAfter: 7, limit: { requests: 5, windowMs: 10_000 } })
    }
  })

  it('does not take the decision on one agent for that on another', async () => {
    const gateway = await script((asked) => ({
      ...allowing(asked),
      status: 200,
      headers: { 'x-meshguard-agent-id': 'agent_2' },
    }))
    const source = fromGateway({ url: gateway.url })
    expect(await source.decide(request)).toMatchObject({ allowed: true, agent: { id: 'agent_2', trustTier: 'unverified' } })
    const agent = { id: 'agent_1', trustTier: 'verified' }
    expect(await source.decide({ ...request, agent })).toMatchObject({ allowed: false, code: 'unavailable' })
  })

  it('lets a guard open what it may while the gateway is away, for agents that were verified here', async () => {
    const gateway = await script(() => ({ status: 503, body: '' }))
    const guard = createGuard({
      source: fromGateway({ url: gateway.url }),
      authenticate: () => ({ id: 'agent_1', trustTier: 'verified' }),
      onUnavailable: { allow: ['read:*'] },
    })
    for (let i = 0; i < 8; i++) {
      expect(await guard.check('read:contacts', { token: 'agent-token' })).toMatchObject({ allowed: true, failedOpen: true })
      expect((await guard.check('write:contacts', { token: 'agent-token' })).allowed).toBe(false)
    }
    expect(gateway.asked).toHaveLength(5)
  })

  it('refuses options that are wrong, naming them and no token', () => {
    const make = (options: unknown) => () => fromGateway(options as Parameters<typeof fromGateway>[0])
    for (const url of [undefined, '', 'gateway', 'ftp://x', 'http://u:p@x', 'http://x?a', 'http://x#a', 7]) {
      expect(make({ url }), String(url)).toThrow(/"url"/)
    }
    const url = 'http://127.0.0.1:1'
    expect(make({ url, token: 'do not tell' })).toThrow(/^(?!.*do not tell).*"token"/)
    for (const timeoutMs of [0, -1, Number.NaN, '5']) expect(make({ url, timeoutMs })).toThrow(/"timeoutMs"/)
    expect(make({ url, timeout: 5 })).toThrow(/"timeout".*"timeoutMs"/)
  })
})

describe('the circuit breaker', () => {
  it('opens after five failures in a row, lets one probe through after a second, and closes when it is answered', () => {
    let now = 0
    const breaker = new Breaker(() => now)
    for (let i = 0; i < 4; i++) {
      expect(breaker.begin()).toBe(true)
      breaker.failed()
    }
    expect(breaker.begin()).toBe(true)
    breaker.reached()
    for (let i = 0; i < 5; i++) {
      expect(breaker.begin()).toBe(true)
      breaker.failed()
    }
    expect(breaker.begin()).toBe(false)
    now = 999
    expect(breaker.begin()).toBe(false)
    now = 1000
    expect(breaker.isOpen).toBe(false)
    expect(breaker.begin()).toBe(true)
    expect(breaker.begin(), 'a second probe').toBe(false)
    breaker.failed()
    expect(breaker.begin()).toBe(false)
    now = 2000
    expect(breaker.begin()).toBe(true)
    breaker.abandoned()
    expect(breaker.begin(), 'after a probe that was abandoned').toBe(true)
    now = 11_999
    expect(breaker.begin(), 'while a probe is under way').toBe(false)
    now = 12_000
    expect(breaker.begin(), 'after a probe that never came back').toBe(true)
    breaker.reached()
    expect(breaker.begin()).toBe(true)
    breaker.failed()
    expect(breaker.begin(), 'counting from none again').toBe(true)
  })
})

describe('the transport is chosen by the runtime', () => {
  const program = (url: string) => `
    import { fromGateway } from '@meshguard/core'
    const request = { action: 'read:contacts', token: 'agent-token', traceId: 'trace-0001' }
    export const ask = () => Promise.all([undefined, 'msvc_service'].map((token) =>
      fromGateway({ url: ${JSON.stringify(url)}, token }).decide(request)))`

  async function bundled(contents: string, conditions: string[], external: string[] = []) {
    const stdin = { contents, resolveDir: import.meta.dirname }
    const options = { stdin, bundle: true, write: false, format: 'esm', metafile: true, external, target: 'es2022' } as const
    const { outputFiles, metafile } = await build({ ...options, conditions: ['meshguard:source', ...conditions] })
    return { text: outputFiles[0]?.text ?? '', inputs: Object.keys(metafile.inputs).join('\n') }
  }

  it('workerd bundles fetch and nothing of undici, and decides with it', async () => {
    const gateway = await script()
    const worker = `${program(gateway.url)}\nexport default { fetch: async () => Response.json(await ask()) }`
    const { text, inputs } = await bundled(worker, ['workerd', 'worker', 'browser'])
    expect(inputs).not.toContain('undici')
    const workerd = new Miniflare({ modules: true, script: text, compatibilityDate: '2026-04-01' })
    try {
      const response = await workerd.dispatchFetch('https://worker.example/')
      expect(await response.json()).toMatchObject([{ allowed: true }, { allowed: true }])
    } finally {
      await workerd.dispose()
    }
  })

  it('Node without undici falls back to fetch', async () => {
    const gateway = await script()
    const code = `${program(gateway.url)}\nconsole.log(JSON.stringify(await ask()))`
    const { text, inputs } = await bundled(code, ['node'], ['undici'])
    expect(inputs).toContain('transport/undici.ts')
    const folder = await mkdtemp(join(tmpdir(), 'meshguard-no-undici-'))
    try {
      const { stdout } = await run(process.execPath, ['--input-type=module', '-e', text], { cwd: folder })
      expect(JSON.parse(stdout)).toMatchObject([{ allowed: true }, { allowed: true }])
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  })

  it('Node with undici honours its global dispatcher', async () => {
    const { getGlobalDispatcher, MockAgent, setGlobalDispatcher } = await import('undici')
    const before = getGlobalDispatcher()
    const mock = new MockAgent()
    mock.disableNetConnect()
    const body = { allowed: true, decision: 'allow', action: request.action, traceId: request.traceId }
    mock.get('http://gateway.example').intercept({ path: '/proxy/check' }).reply(200, body)
    setGlobalDispatcher(mock)
    try {
      expect(await fromGateway({ url: 'http://gateway.example' }).decide(request)).toMatchObject({ allowed: true })
    } finally {
      setGlobalDispatcher(before)
      await mock.close()
    }
  })
})
