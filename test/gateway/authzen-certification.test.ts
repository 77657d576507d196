import { describe, expect, it } from 'vitest'
import { authZenWorld, does, record, user } from './authzen-world.js'

const world = authZenWorld()
const alice = user('alice')
const bob = user('bob')
const admin = user('bob', { role: 'admin' })
const active = record('record-1', { status: 'active' })
const archived = record('record-2', { status: 'archived' })

const READ = { subject: alice, action: does('read'), resource: record('record-1') }

/** What the AuthZEN 1.0 certification scenario of October 2026 asks of an evaluation. */
describe('Basic certification', () => {
  it.each([
    ['alice reads', READ, true],
    ['alice writes', { ...READ, action: does('write') }, true],
    ['bob reads', { ...READ, subject: bob }, true],
    ['bob may not write', { ...READ, subject: bob, action: does('write') }, false],
    ['a context changes nothing', { ...READ, context: { time: '2025-06-27T18:03-07:00', ip: '192.168.1.1' } }, true],
    ['alice may not write what is archived', { subject: alice, action: does('write'), resource: archived }, false],
    ['an admin writes what is archived', { subject: admin, action: does('write'), resource: archived }, true],
    ['alice deletes softly', { ...READ, action: does('delete', { soft: true }) }, true],
    ['alice may not delete for good', { ...READ, action: does('delete', { soft: false }) }, false],
    [
      'more properties change nothing',
      {
        subject: user('alice', { department: 'Sales', role: 'manager' }),
        action: does('read', { method: 'GET' }),
        resource: record('record-1', { status: 'active', owner: 'bob' }),
      },
      true,
    ],
    ['unknown fields are ignored', { ...READ, foo: 'bar', futureField: { nested: true } }, true],
  ])('%s', async (_title, body, decision) => {
    const { status, headers, body: answer } = await world.evaluation(body)
    expect({ status, decision: answer.decision }).toEqual({ status: 200, decision })
    expect(headers.get('content-type')).toMatch(/^application\/json/)
    expect(typeof answer.context).toBe('object')
  })

  it.each([
    ['no subject', { ...READ, subject: undefined }],
    ['no action', { ...READ, action: undefined }],
    ['no resource', { ...READ, resource: undefined }],
    ['a subject without type', { ...READ, subject: { id: 'alice' } }],
    ['a subject without id', { ...READ, subject: { type: 'user' } }],
    ['an action without name', { ...READ, action: {} }],
    ['a resource without type', { ...READ, resource: { id: 'record-1' } }],
    ['a resource without id', { ...READ, resource: { type: 'record' } }],
    ['a subject that is a string', { ...READ, subject: 'alice' }],
    ['an action whose name is a number', { ...READ, action: { name: 123 } }],
    ['a context that is a list', { ...READ, context: [] }],
    ['properties that are a string', { ...READ, subject: { ...alice, properties: 'admin' } }],
    ['a body that is no JSON', '{"subject":'],
    ['an empty body', ''],
    ['a body that is null', 'null'],
    ['a list', '[]'],
  ])('answers 400 to %s', async (_title, body) => {
    for (const path of ['/access/v1/evaluation', '/access/v1/evaluations']) {
      const { status, body: answer } = await world.post(path, body)
      expect({ path, status, error: answer.error }).toEqual({ path, status: 400, error: 'bad_request' })
    }
  })

  it('answers 400 to another media type, and 415 to JSON in another charset or coding', async () => {
    for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'application/jsonx', '']) {
      expect((await world.evaluation(READ, { 'content-type': type })).status).toBe(400)
    }
    expect((await world.evaluation(READ, { 'content-type': 'application/json; charset=latin1' })).status).toBe(415)
    expect((await world.evaluation(READ, { 'content-encoding': 'gzip' })).status).toBe(415)
  })

  it('echoes X-Request-ID, also on a refusal, and needs none', async () => {
    const id = 'bfe9eb29-ab87-4ca3-be83-a1d5d8305716'
    for (const body of [READ, {}]) {
      expect((await world.evaluation(body, { 'x-request-id': id })).headers.get('x-request-id')).toBe(id)
      expect((await world.evaluations(body, { 'x-request-id': id })).headers.get('x-request-id')).toBe(id)
    }
    expect((await world.evaluation(READ, { 'x-request-id': id, authorization: '' })).headers.get('x-request-id')).toBe(id)
    const { status, headers } = await world.evaluation(READ)
    expect([status, headers.get('x-request-id')]).toEqual([200, null])
  })

  it('decides the same each time', async () => {
    const decisions = []
    for (let i = 0; i < 5; i++)
      decisions.push((await world.evaluation({ ...READ, subject: bob, action: does('write') })).body.decision)
    expect(decisions).toEqual([false, false, false, false, false])
  })
})

describe('Batch certification', () => {
  it.each([
    [
      'resources',
      {
        subject: alice,
        action: does('read'),
        evaluations: [{ resource: record('record-1') }, { resource: record('record-2') }],
      },
      [true, true],
    ],
    [
      'actions',
      { subject: bob, resource: record('record-1'), evaluations: [{ action: does('read') }, { action: does('write') }] },
      [true, false],
    ],
    [
      'properties of resources',
      { subject: alice, action: does('write'), evaluations: [{ resource: active }, { resource: archived }] },
      [true, false],
    ],
    [
      'properties of subjects',
      { action: does('write'), resource: archived, evaluations: [{ subject: alice }, { subject: admin }] },
      [false, true],
    ],
    [
      'whole questions',
      { evaluations: [READ, { subject: bob, action: does('write'), resource: record('record-1') }] },
      [true, false],
    ],
    [
      'contexts',
      {
        subject: alice,
        action: does('read'),
        context: { time: '2025-06-27T18:03-07:00' },
        evaluations: [
          { resource: record('record-1') },
          { resource: record('record-2'), context: { source: 'batch-override' } },
        ],
      },
      [true, true],
    ],
    [
      'resources whose type is the default',
      {
        subject: alice,
        action: does('write'),
        resource: { type: 'record' },
        evaluations: [{ resource: { id: 'record-1', properties: { status: 'active' } } }, { resource: archived }],
      },
      [true, false],
    ],
    [
      'one that lacks something',
      { subject: alice, action: does('read'), evaluations: [{ resource: record('record-1') }, {}] },
      [true, false],
    ],
  ])('decides several %s in order', async (_title, body, decisions) => {
    const { status, body: answer } = await world.evaluations(body)
    expect(status).toBe(200)
    expect(answer.evaluations.map(({ decision }: { decision: boolean }) => decision)).toEqual(decisions)
    expect(answer).not.toHaveProperty('decision')
  })

  it('takes nothing but what identifies it from the default of something that is there', async () => {
    const { body } = await world.evaluations({
      subject: alice,
      action: does('write'),
      resource: archived,
      evaluations: [{}, { resource: { id: 'record-1' } }, { resource: { properties: { status: 'active' } } }],
    })
    expect(body.evaluations.map(({ decision }: { decision: boolean }) => decision)).toEqual([false, true, true])
  })

  it.each([
    ['no list', READ],
    ['an empty list', { ...READ, evaluations: [] }],
  ])('answers like a single evaluation to %s', async (_title, body) => {
    const { status, body: answer } = await world.evaluations(body)
    expect([status, answer.decision, 'evaluations' in answer]).toEqual([200, true, false])
  })
})

describe('Discovery certification', () => {
  it('says where the endpoints are, at the address that was asked', async () => {
    const response = await world.world.fetch('/.well-known/authzen-configuration')
    expect([response.status, response.headers.get('content-type')]).toEqual([200, 'application/json'])
    const { url } = world.world
    expect(await response.json()).toEqual({
      policy_decision_point: url,
      access_evaluation_endpoint: `${url}/access/v1/evaluation`,
      access_evaluations_endpoint: `${url}/access/v1/evaluations`,
    })
  })
})
