import Router from '@koa/router'
import { type Action, createGuard, type Decision, fromPolicies, type PolicyDocument } from '@meshguard/core'
import { recordingSource } from '@meshguard/core/testing'
import { createProtect as createExpress } from '@meshguard/express'
import { createProtect as createFastify } from '@meshguard/fastify'
import { createProtect as createHono } from '@meshguard/hono'
import { createProtect as createKoa } from '@meshguard/koa'
import express, { type Express } from 'express'
import fastify, { type FastifyInstance } from 'fastify'
import { Hono } from 'hono'
import Koa from 'koa'
import { describe, expect, expectTypeOf, it } from 'vitest'

const guard = createGuard({ source: recordingSource() })
const ADAPTERS = [createExpress, createKoa, createHono, createFastify] as const

describe('what is wrong does not compile, and is a TypeError all the same', () => {
  it('an option of the guard', () => {
    const source = recordingSource()
    // @ts-expect-error there is no such mode
    expect(() => createGuard({ source, mode: 'off' })).toThrow(TypeError)
    // @ts-expect-error the option is called timeoutMs
    expect(() => createGuard({ source, timeout: 5 })).toThrow(TypeError)
    // @ts-expect-error a guard needs a source
    expect(() => createGuard({})).toThrow(TypeError)
  })

  it('a policy', () => {
    // @ts-expect-error there is no such effect
    const policy: PolicyDocument = { name: 'p', rules: [{ effect: 'permit', actions: ['read:x'] }] }
    expect(() => fromPolicies(policy)).toThrow('permit')
  })

  it.each(ADAPTERS)('an option or an action of an adapter', (createProtect) => {
    // @ts-expect-error there is no such disclosure
    expect(() => createProtect(guard, { disclose: 'all' })).toThrow(TypeError)
    // @ts-expect-error the option is called onDenied
    expect(() => createProtect(guard, { onDeny: () => {} })).toThrow(TypeError)
    // @ts-expect-error an action is verb:object
    expect(() => createProtect(guard, { actions: { 'GET /x': 'read' } })).toThrow(TypeError)
    const protect = createProtect(guard)
    // @ts-expect-error an action is verb:object
    expect(() => protect('contacts')).toThrow(TypeError)
    // @ts-expect-error a route has no option of that name
    expect(() => protect('read:x', { resources: 'x' })).toThrow(TypeError)
    // @ts-expect-error whoever reads the table wants a reason
    expect(() => protect.open()).toThrow(TypeError)
  })
})

describe('types go through unchanged', () => {
  it('protect answers its argument, typed as it was', () => {
    expectTypeOf(createExpress(guard)(express())).toEqualTypeOf<Express>()
    expectTypeOf(createKoa(guard)(new Koa())).toExtend<Koa>()
    expectTypeOf(createKoa(guard)(new Router())).toExtend<Router>()
    expectTypeOf(createHono(guard)(new Hono())).toEqualTypeOf<Hono>()
    expectTypeOf(createFastify(guard)(fastify())).toExtend<FastifyInstance>()
  })

  it('an action is a template, and a decision is read-only', () => {
    expectTypeOf<'read:contacts'>().toExtend<Action>()
    expectTypeOf<'contacts'>().not.toExtend<Action>()
    expectTypeOf<Decision>().toEqualTypeOf<Readonly<Decision>>()
  })
})
