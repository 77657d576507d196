import type { z } from 'zod'
import { VERSION } from '../version.js'
import { ADMIN_OPERATIONS } from './admin-operations.js'
import { AGENT_OPERATIONS } from './agent-operations.js'
import { AUDIT_OPERATIONS } from './audit-operations.js'
import { AUTHZEN_OPERATIONS } from './authzen-operations.js'
import { BUNDLE_OPERATIONS } from './bundle-operations.js'
import { type Components, writeSchema } from './json-schema.js'
import type { Answer, Caller, Operation, RefusalStatus } from './operation.js'
import { REFUSALS, refusal } from './refusals.js'

/** Every route of the gateway. */
const OPERATIONS: readonly Operation[] = [
  ...AGENT_OPERATIONS,
  ...AUTHZEN_OPERATIONS,
  ...BUNDLE_OPERATIONS,
  ...ADMIN_OPERATIONS,
  ...AUDIT_OPERATIONS,
]

type Json = Readonly<Record<string, unknown>>

const SECURITY: Readonly<Record<Caller, readonly Json[]>> = {
  agent: [{ agentToken: [] }],
  operator: [{ adminToken: [] }, { operatorToken: [] }, { serviceToken: [] }],
  auditReader: [{ adminToken: [] }, { operatorToken: [] }, { serviceToken: [] }],
  service: [{ serviceToken: [] }],
  nobody: [],
}

const SECURITY_SCHEMES = {
  agentToken: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT', description: 'The token of an agent.' },
  adminToken: { type: 'apiKey', in: 'header', name: 'X-Admin-Token', description: 'The token of an operator.' },
  operatorToken: { type: 'http', scheme: 'bearer', description: 'The token of an operator (`msat_…`).' },
  serviceToken: {
    type: 'http',
    scheme: 'bearer',
    description:
      'A service token (`msvc_…`): `admin` for everything under /admin, `audit:read`, `audit:write`, `decide`, `bundle`.',
  },
}

/** The OpenAPI 3.1 document, generated from the schemas that validate. */
export function openApiDocument(operations: readonly Operation[] = OPERATIONS): Json {
  const components: Components = new Map()
  const refusalSchema = writeSchema(refusal, 'output', components)
  const paths: Record<string, Record<string, unknown>> = {}
  for (const operation of operations) {
    const item = paths[operation.path] ?? pathItem(operation.path)
    item[operation.method] = operationObject(operation, components)
    paths[operation.path] = item
  }
  return {
    openapi: '3.1.1',
    info: {
      title: 'MeshGuard Gateway',
      version: VERSION,
      description: 'Decisions about what AI agents may do, a governed proxy, and their administration.',
      license: { name: 'MIT', identifier: 'MIT' },
    },
    servers: [{ url: '/' }],
    tags: [...new Set(operations.map(({ tag }) => tag))].map((name) => ({ name })),
    paths,
    components: {
      schemas: Object.fromEntries([...components].sort(([one], [other]) => (one < other ? -1 : 1))),
      responses: Object.fromEntries(
        Object.entries(REFUSALS).map(([status, { description, example, headers }]) => [
          `Refusal${status}`,
          {
            description,
            ...(headers === undefined ? {} : { headers: headerObjects(headers) }),
            content: {
              'application/json': { schema: refusalSchema, example },
              'application/problem+json': { schema: refusalSchema },
            },
          },
        ]),
      ),
      securitySchemes: SECURITY_SCHEMES,
    },
  }
}

/** Everything under `/admin` is under `/api/v1/admin` as well. */
function pathItem(path: string): Record<string, unknown> {
  return path.startsWith('/admin/') ? { servers: [{ url: '/' }, { url: '/api/v1' }] } : {}
}

function operationObject(operation: Operation, components: Components): Json {
  const { id, tag, summary, description, caller, body, answers, refusals } = operation
  const parameters = parametersOf(operation, components)
  return {
    operationId: id,
    tags: [tag],
    summary,
    ...(description === undefined ? {} : { description }),
    security: SECURITY[caller],
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(body === undefined ? {} : { requestBody: requestBody(body, components) }),
    responses: {
      ...Object.fromEntries(Object.entries(answers).map(([status, answer]) => [status, answerObject(answer, components)])),
      ...Object.fromEntries(refusals.map(refusalReference)),
    },
  }
}

function refusalReference(status: RefusalStatus): [number, Json] {
  return [status, { $ref: `#/components/responses/Refusal${status}` }]
}

function parametersOf({ path, query, headers }: Operation, components: Components): Json[] {
  const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string' },
  }))
  return [...inPath, ...members(query, 'query', components), ...members(headers, 'header', components)]
}

function members(schema: z.ZodObject | undefined, where: 'query' | 'header', components: Components): Json[] {
  return Object.entries(schema?.shape ?? {}).map(([name, member]) => {
    const { description, ...written } = writeSchema(member, 'input', components)
    const required = !member.safeParse(undefined).success
    return { name, in: where, required, ...(description === undefined ? {} : { description }), schema: written }
  })
}

function requestBody(
  { schema, types = ['application/json'], optional }: NonNullable<Operation['body']>,
  components: Components,
) {
  const written = writeSchema(schema, 'input', components)
  return { required: optional !== true, content: Object.fromEntries(types.map((type) => [type, { schema: written }])) }
}

function answerObject({ description, schema, types = [], headers }: Answer, components: Components): Json {
  const json = schema === undefined ? {} : { 'application/json': { schema: writeSchema(schema, 'output', components) } }
  const others = Object.fromEntries(types.map((type) => [type, { schema: { type: 'string' } }]))
  const content = { ...json, ...others }
  return {
    description,
    ...(headers === undefined ? {} : { headers: headerObjects(headers) }),
    ...(Object.keys(content).length === 0 ? {} : { content }),
  }
}

function headerObjects(headers: Readonly<Record<string, string>>): Json {
  return Object.fromEntries(
    Object.entries(headers).map(([name, description]) => [name, { description, schema: { type: 'string' } }]),
  )
}
