import { deriveAction, isAction, resourceOf } from '@meshguard/core'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

describe('isAction', () => {
  it.each(['read:contacts', 'read:a:b', 'x:y', 'read:/', `r:${'o'.repeat(254)}`])('takes %j', (action) => {
    expect(isAction(action)).toBe(true)
  })

  it.each([
    '',
    'read',
    ':contacts',
    'read:',
    'read:*',
    '*:x',
    'read:con tacts',
    'read:é',
    'read:\n',
    'read:\u007f',
    `r:${'o'.repeat(255)}`,
    42,
    null,
  ])('refuses %j', (action) => {
    expect(isAction(action)).toBe(false)
  })
})

describe('deriveAction', () => {
  it.each([
    ['GET', '/contacts', 'read:contacts'],
    ['HEAD', '/contacts', 'read:contacts'],
    ['POST', '/contacts', 'write:contacts'],
    ['PUT', '/contacts/:id', 'write:contacts'],
    ['PATCH', '/contacts/:id', 'write:contacts'],
    ['DELETE', '/contacts/:id', 'delete:contacts'],
    ['GET', '/', 'read:/'],
    ['GET', '/api/v1/orgs/:org/contacts/:id', 'read:orgs/contacts'],
    ['GET', '/api/v2beta1/contacts', 'read:contacts'],
    ['GET', '/v1/contacts', 'read:contacts'],
    ['GET', '/apis/contacts', 'read:apis/contacts'],
    ['GET', '/contacts/v1', 'read:contacts/v1'],
    ['GET', '/files/*path', 'read:files'],
    ['GET', '/flights/:from-:to', 'read:flights'],
    ['GET', '/files/:name.json', 'read:files'],
    ['GET', '/contacts/:id?', 'read:contacts'],
    ['GET', '//contacts//:id/', 'read:contacts'],
  ])('%s %s is %s', (method, pattern, action) => {
    expect(deriveAction({ method, pattern })).toBe(action)
  })

  it.each([
    ['OPTIONS', '/contacts'],
    ['TRACE', '/contacts'],
    ['ALL', '/contacts'],
    ['get', '/contacts'],
    ['GET', '/api'],
    ['GET', '/api/v1'],
    ['GET', '/:id'],
    ['GET', '/*rest'],
    ['GET', '/:org/:id'],
    ['GET', 'contacts'],
    ['GET', '/cont acts'],
    ['GET', '/café'],
    ['GET', '/contacts{/:id}'],
    ['GET', '/contacts/(\\d+)'],
    ['GET', '/contacts/*'],
    ['GET', '/contacts/:'],
    ['GET', `/${'a'.repeat(300)}`],
    ['GET', `/${'a/'.repeat(2000)}`],
  ])('%s %s is unmapped', (method, pattern) => {
    expect(deriveAction({ method, pattern })).toBeUndefined()
  })

  it('drops the longest prefix that fits, at a segment’s border', () => {
    const prefix = ['/api', '/api/internal']
    expect(deriveAction({ method: 'GET', pattern: '/api/internal/v1/jobs', prefix })).toBe('read:jobs')
    expect(deriveAction({ method: 'GET', pattern: '/api/jobs', prefix })).toBe('read:jobs')
    expect(deriveAction({ method: 'GET', pattern: '/apijobs', prefix })).toBe('read:apijobs')
    expect(deriveAction({ method: 'GET', pattern: '/api/jobs', prefix: [] })).toBe('read:api/jobs')
  })
})

describe('resourceOf', () => {
  it.each([
    ['/api/v1/orgs/:org/contacts/:id', { org: 'acme', id: '42' }, 'orgs/acme/contacts/42'],
    ['/contacts', {}, 'contacts'],
    ['/', {}, '/'],
    ['/contacts/:id', { id: 'a/b' }, 'contacts/a%2Fb'],
    ['/contacts/:id', { id: '*' }, 'contacts/*'],
    ['/contacts/:id', { id: 'é' }, 'contacts/%C3%A9'],
    ['/files/*path', { path: 'a/b.txt' }, 'files/a/b.txt'],
    ['/files/*path', { path: ['a', 'b c'] }, 'files/a/b%20c'],
    ['/flights/:from-:to', { from: 'TXL', to: 'LIS' }, 'flights/TXL-LIS'],
    ['/contacts/:id?', {}, 'contacts'],
    ['/contacts/:id?', { id: '7' }, 'contacts/7'],
  ])('of %s with %j is %s', (pattern, params, resource) => {
    expect(resourceOf({ pattern, params })).toBe(resource)
  })

  it.each<[string, Record<string, string | string[]>]>([
    ['/contacts/:id', {}],
    ['/contacts/:id', { id: '' }],
    ['/contacts/:id', { id: '.' }],
    ['/contacts/:id', { id: '..' }],
    ['/contacts/:id', { id: 'a\u0000' }],
    ['/contacts/:id', { id: 'a\r\nb' }],
    ['/contacts/:id', { id: '\ud800' }],
    ['/contacts/:id', { id: 'x'.repeat(257) }],
    ['/files/*path', { path: 'a/../b' }],
    ['/files/*path', { path: 'a//b' }],
    ['/files/*path', { path: ['a', ''] }],
    ['/contacts/:__proto__', {}],
  ])('of %s with %j is none', (pattern, params) => {
    expect(resourceOf({ pattern, params })).toBeUndefined()
  })

  it('never gives two requests of one route the same resource', () => {
    const param = fc.string({ minLength: 1, maxLength: 12, unit: 'binary' })
    fc.assert(
      fc.property(param, param, param, param, (a, b, c, d) => {
        const pattern = '/orgs/:org/contacts/:id'
        const one = resourceOf({ pattern, params: { org: a, id: b } })
        const other = resourceOf({ pattern, params: { org: c, id: d } })
        return one === undefined || one !== other || (a === c && b === d)
      }),
    )
  })
})
