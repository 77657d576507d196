import { MeshGuardClient } from '@meshguard/client'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { startScripted } from './scripted.js'

const gatewayUrl = 'http://127.0.0.1:1'
const NAMES = ['MESHGUARD_GATEWAY_URL', 'MESHGUARD_AGENT_TOKEN', 'MESHGUARD_ADMIN_TOKEN', 'MESHGUARD_TIMEOUT_MS']

const made = (options: object, env: Record<string, string> = {}) => {
  for (const name of NAMES) vi.stubEnv(name, env[name])
  return () => new MeshGuardClient(options)
}

afterEach(() => vi.unstubAllEnvs())

describe('what a client is made of', () => {
  it('names the variable when nobody says where the gateway is', () => {
    expect(made({})).toThrow(/option "gatewayUrl" or set MESHGUARD_GATEWAY_URL/)
    expect(made({}, { MESHGUARD_GATEWAY_URL: '' })).toThrow(/MESHGUARD_GATEWAY_URL/)
  })

  it.each([
    [{ gatewayUrl: 'gateway.example' }, /option "gatewayUrl" must be a URL/],
    [{ gatewayUrl: 'ftp://gateway.example' }, /option "gatewayUrl" must be a URL/],
    [{ gatewayUrl: 'https://ada:pass@gateway.example' }, /no user, password, query or fragment/],
    [{ gatewayUrl: 'https://gateway.example/?a=b' }, /no user, password, query or fragment/],
    [{ gatewayUrl, timeoutMs: 0 }, /"timeoutMs" must be a positive number/],
    [{ gatewayUrl, retries: -1 }, /"retries" must be a whole number from 0/],
    [{ gatewayUrl, retries: 1.5 }, /"retries" must be a whole number from 0/],
    [{ gatewayUrl, traceId: 'short' }, /"traceId" must be 8 to 128/],
    [{ gatewayUrl, agenttoken: 'x' }, /unknown option "agenttoken"\. Did you mean "agentToken"\?/],
    [null, /expected an object of options/],
  ])('refuses %j', (options, message) => {
    expect(made(options as object)).toThrow(message)
    expect(made(options as object)).toThrow(TypeError)
  })

  it.each([
    [{ MESHGUARD_GATEWAY_URL: 'nowhere' }, /MESHGUARD_GATEWAY_URL must be a URL/],
    [{ MESHGUARD_GATEWAY_URL: gatewayUrl, MESHGUARD_TIMEOUT_MS: 'soon' }, /MESHGUARD_TIMEOUT_MS must be a positive number/],
    [{ MESHGUARD_GATEWAY_URL: gatewayUrl, MESHGUARD_TIMEOUT_MS: '-3' }, /MESHGUARD_TIMEOUT_MS must be a positive number/],
  ])('names the variable of the environment in %j', (env, message) => {
    expect(made({}, env)).toThrow(message)
  })

  it('refuses a token that cannot stand in a header, without repeating it', () => {
    for (const make of [
      made({ gatewayUrl, agentToken: 'secret\nsecret' }),
      made({ gatewayUrl, adminToken: 'secret secret' }),
      made({ gatewayUrl }, { MESHGUARD_AGENT_TOKEN: 'sécret' }),
    ]) {
      expect(make).toThrow(/holds characters that no token has/)
      expect(make).not.toThrow(/s.cret/)
    }
  })

  it.each([
    ['check', 'contacts/42', /MeshGuardClient: check: expected an object of options/],
    ['check', { resorce: 'contacts/42' }, /MeshGuardClient: check: unknown option "resorce"\. Did you mean "resource"\?/],
    ['get', 'read:contacts', /MeshGuardClient: get: expected an object of options/],
    ['post', { jsn: {} }, /MeshGuardClient: post: unknown option "jsn"\. Did you mean "json"\?/],
  ] as const)('refuses a %s with %j, as nothing may be left unsaid', async (method, options, message) => {
    const client = made({ gatewayUrl, agentToken: 'token' })()
    await expect(client[method]('/read:contacts', options as never)).rejects.toThrow(message)
  })

  it('shows no token when it is printed', async () => {
    const { inspect } = await import('node:util')
    const client = made({ gatewayUrl, agentToken: 'agent-secret', adminToken: 'admin-secret' })()
    expect(inspect(client, { depth: 9, showHidden: true }) + JSON.stringify(client)).not.toMatch(/secret/)
  })

  it('reads the environment, trims it, and lets options go first', async () => {
    const scripted = await startScripted()
    try {
      scripted.answer({ json: { agents: [] } })
      const env = { MESHGUARD_GATEWAY_URL: `${scripted.url}/behind/ \n`, MESHGUARD_ADMIN_TOKEN: 'from-the-environment\n' }
      await made({}, env)().listAgents()
      await made({ adminToken: 'from-the-options' }, env)().listAgents()
      expect(scripted.received.map(({ url, headers }) => [url, headers['x-admin-token']])).toEqual([
        ['/behind/admin/agents?limit=1000', 'from-the-environment'],
        ['/behind/admin/agents?limit=1000', 'from-the-options'],
      ])
    } finally {
      await scripted.close()
    }
  })
})
