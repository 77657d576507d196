import {
  AuthenticationError,
  ConnectionError,
  type Decision,
  MeshGuardError,
  PolicyDeniedError,
  RateLimitError,
  UnavailableError,
  ValidationError,
} from '@meshguard/core'
import { describe, expect, it, vi } from 'vitest'

const denied: Decision = {
  allowed: false,
  decision: 'deny',
  action: 'delete:database',
  agentId: 'agent_1',
  code: 'denied',
  policy: 'no-admin',
  rule: 'deny-admin',
  traceId: 'trace-0001',
  timestamp: 0,
  enforced: true,
}

const TABLE: ReadonlyArray<readonly [string, MeshGuardError, string, number, Record<string, unknown>]> = [
  [
    'PolicyDeniedError',
    new PolicyDeniedError(denied),
    'denied',
    403,
    { error: 'Forbidden', message: 'Action delete:database is not allowed', action: 'delete:database', traceId: 'trace-0001' },
  ],
  [
    'RateLimitError',
    new RateLimitError({ ...denied, code: 'rate_limited', retryAfter: 7, limit: { requests: 30, windowMs: 60_000 } }),
    'rate_limited',
    429,
    {
      error: 'rate_limited',
      code: 'rate_limited',
      message: 'Rate limit exceeded',
      retry_after: 7,
      limit: '30 requests per minute',
      traceId: 'trace-0001',
    },
  ],
  [
    'AuthenticationError',
    new AuthenticationError('The token has expired', { traceId: 'trace-0001' }),
    'unauthenticated',
    401,
    { error: 'unauthorized', message: 'Invalid or expired token', traceId: 'trace-0001' },
  ],
  [
    'UnavailableError',
    new UnavailableError('secret upstream failed', { traceId: 'trace-0001' }),
    'unavailable',
    503,
    { error: 'unavailable', message: 'No decision could be made', traceId: 'trace-0001' },
  ],
  [
    'ConnectionError',
    new ConnectionError('refused', { traceId: 'trace-0001' }),
    'connection',
    503,
    { error: 'unavailable', message: 'No decision could be made', traceId: 'trace-0001' },
  ],
  [
    'ValidationError',
    new ValidationError([{ message: 'Unknown key "x"', path: ['x'], file: 'a.yaml', line: 2, column: 1 }], {
      traceId: 'trace-0001',
    }),
    'validation',
    400,
    {
      error: 'bad_request',
      message: 'a.yaml:2:1: Unknown key "x"',
      traceId: 'trace-0001',
      issues: [{ message: 'Unknown key "x"', path: ['x'], file: 'a.yaml', line: 2, column: 1 }],
    },
  ],
]

describe.each(TABLE)('%s', (name, error, code, status, body) => {
  it('says its code and status in every spelling that frameworks read', () => {
    expect(error).toMatchObject({ name, code, status, statusCode: status, expose: status < 500 })
  })

  it('is answered with the body and headers of the wire protocol', async () => {
    const response = error.getResponse()
    expect(response.status).toBe(status)
    expect(response.headers.get('content-type')).toMatch(/^application\/json/)
    expect(response.headers.get('cache-control')).toBe('no-store')
    expect(await response.json()).toEqual(body)
  })

  it('is an instance of its class and its bases, and of no other', () => {
    expect(error).toBeInstanceOf(MeshGuardError)
    expect(error).toBeInstanceOf(Error)
    const classes = {
      PolicyDeniedError,
      RateLimitError,
      AuthenticationError,
      UnavailableError,
      ConnectionError,
      ValidationError,
    }
    const instanceOf = Object.entries(classes).filter(([, type]) => error instanceof type)
    const expected = name === 'ConnectionError' ? ['UnavailableError', 'ConnectionError'] : [name]
    expect(instanceOf.map(([type]) => type)).toEqual(expected)
  })
})

describe('errors of two installed copies', () => {
  it('are instances of each other’s classes', async () => {
    vi.resetModules()
    const copy = await import('@meshguard/core')
    expect(copy.PolicyDeniedError).not.toBe(PolicyDeniedError)
    expect(new copy.PolicyDeniedError(denied)).toBeInstanceOf(PolicyDeniedError)
    expect(new PolicyDeniedError(denied)).toBeInstanceOf(copy.MeshGuardError)
    expect(new copy.RateLimitError(denied)).not.toBeInstanceOf(PolicyDeniedError)
  })

  it('are not instances of an application’s own subclass', () => {
    class Mine extends PolicyDeniedError {}
    expect(new PolicyDeniedError(denied)).not.toBeInstanceOf(Mine)
    expect(new Mine(denied)).toBeInstanceOf(Mine)
    expect(new Mine(denied)).toBeInstanceOf(PolicyDeniedError)
  })
})

it('headers name the challenge, and when to come back', () => {
  expect(new AuthenticationError('x').headers['www-authenticate']).toBe('Bearer realm="meshguard", error="invalid_token"')
  expect(new AuthenticationError('x', { sentToken: false }).headers['www-authenticate']).toBe('Bearer realm="meshguard"')
  const limited = new RateLimitError({
    ...denied,
    code: 'rate_limited',
    retryAfter: 7,
    limit: { requests: 3, windowMs: 60_000 },
  })
  expect(limited.headers).toMatchObject({
    'retry-after': '7',
    'ratelimit-policy': '"default";q=3;w=60',
    ratelimit: '"default";r=0;t=7',
  })
  expect(new UnavailableError('x').headers['retry-after']).toBe('1')
})
