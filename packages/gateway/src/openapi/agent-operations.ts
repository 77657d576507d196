import { z } from 'zod'
import { checksBody } from '../checks/check-schemas.js'
import type { Operation } from './operation.js'

const traceHeader = { 'X-MeshGuard-Trace-ID': z.string().optional() }

const allowed = z
  .strictObject({
    allowed: z.literal(true),
    decision: z.literal('allow'),
    action: z.string(),
    resource: z.string().optional(),
    code: z
      .string()
      .meta({ description: '`allowed`, `bypassed`, or in audit mode the code of the denial that was let through.' }),
    policy: z.string().optional(),
    rule: z.string().optional(),
    traceId: z.string(),
  })
  .meta({ id: 'Allowed' })

const decisions = z.strictObject({ decisions: z.array(z.looseObject({ status: z.int(), traceId: z.string() })) }).meta({
  id: 'Decisions',
  description: 'In the order of the checks, each with the status and the body that it would have alone.',
})

const health = z
  .strictObject({
    status: z.enum(['healthy', 'degraded']),
    timestamp: z.iso.datetime(),
    version: z.string(),
    mode: z.string(),
    uptimeSeconds: z.int(),
    checks: z.strictObject({ database: z.enum(['ok', 'failing']), policies: z.enum(['ok', 'failing']) }),
  })
  .meta({ id: 'Health' })

const gatewayInfo = z
  .strictObject({ name: z.literal('MeshGuard Gateway'), version: z.string(), mode: z.string(), docs: z.string() })
  .meta({ id: 'GatewayInfo' })

const jwks = z.strictObject({ keys: z.array(z.looseObject({ kty: z.string() })) }).meta({ id: 'KeySet' })

const proxied: Omit<Operation, 'method' | 'id'> = {
  tag: 'Proxy',
  caller: 'agent',
  path: '/proxy/{path}',
  summary: 'Forward a request to PROXY_TARGET, if it is allowed',
  description:
    'The action comes from the method and the path. What is declared here can only narrow: the request must be allowed as derived and as declared. ' +
    '`X-MeshGuard-Origin` says who answers: `gateway` or `upstream`.',
  headers: z.object({
    'X-MeshGuard-Action': z.string().optional(),
    'X-MeshGuard-Resource': z.string().optional(),
    'X-MeshGuard-Context': z.string().optional(),
    ...traceHeader,
  }),
  answers: { 200: { description: 'What the upstream answers, whatever it is.', types: ['*/*'] } },
  refusals: [400, 401, 403, 404, 413, 429, 502, 503, 504],
}

const METHODS = ['get', 'post', 'put', 'patch', 'delete'] as const

/** What agents and services ask, and what the gateway says of itself. */
export const AGENT_OPERATIONS: readonly Operation[] = [
  {
    tag: 'Decisions',
    caller: 'agent',
    method: 'get',
    path: '/proxy/check',
    id: 'check',
    summary: 'Whether the agent may do something',
    headers: z.object({
      'X-MeshGuard-Action': z.string().meta({ description: '`verb:object`', examples: ['read:contacts'] }),
      'X-MeshGuard-Resource': z.string().optional(),
      'X-MeshGuard-Context': z.string().optional().meta({ description: 'A JSON object of at most 4 KiB.' }),
      ...traceHeader,
    }),
    answers: { 200: { description: 'It may.', schema: allowed } },
    refusals: [400, 401, 403, 429, 503],
  },
  {
    tag: 'Decisions',
    caller: 'service',
    method: 'post',
    path: '/v1/checks',
    id: 'checkMany',
    summary: 'Whether agents may do things (scope `decide`)',
    body: { schema: checksBody.meta({ id: 'Checks' }) },
    answers: { 200: { description: 'The decisions.', schema: decisions } },
    refusals: [400, 401, 403, 413, 415, 503],
  },
  ...METHODS.map((method): Operation => ({ ...proxied, method, id: `proxy${method[0]?.toUpperCase()}${method.slice(1)}` })),
  {
    tag: 'Gateway',
    caller: 'nobody',
    method: 'get',
    path: '/',
    id: 'info',
    summary: 'What answers here',
    answers: {
      200: { description: 'The gateway; a page for people who prefer HTML.', schema: gatewayInfo, types: ['text/html'] },
    },
    refusals: [],
  },
  {
    tag: 'Gateway',
    caller: 'nobody',
    method: 'get',
    path: '/health',
    id: 'health',
    summary: 'How the gateway is',
    answers: {
      200: { description: 'It decides.', schema: health },
      503: { description: 'It cannot decide.', schema: health },
    },
    refusals: [],
  },
  {
    tag: 'Gateway',
    caller: 'nobody',
    method: 'get',
    path: '/.well-known/jwks.json',
    id: 'keySet',
    summary: 'The public keys of agents’ tokens, and of bundles',
    answers: { 200: { description: 'RFC 7517; empty where `JWT_SECRET` signs.', schema: jwks } },
    refusals: [],
  },
  {
    tag: 'Gateway',
    caller: 'service',
    method: 'get',
    path: '/metrics',
    id: 'metrics',
    summary: 'Metrics for Prometheus (from this machine, or with the scope `audit:read`)',
    answers: { 200: { description: 'Text.', types: ['text/plain'] } },
    refusals: [401, 403],
  },
  {
    tag: 'Gateway',
    caller: 'nobody',
    method: 'get',
    path: '/openapi.json',
    id: 'openApi',
    summary: 'This document',
    answers: {
      200: {
        description: 'OpenAPI 3.1.',
        schema: z.looseObject({ openapi: z.string() }),
        headers: { ETag: 'Of this version.' },
      },
      304: { description: 'It is the one with the ETag in `If-None-Match`.' },
    },
    refusals: [],
  },
]
