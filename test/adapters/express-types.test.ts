import { createProtect } from '@meshguard/express'
import express, { type Express, type RequestHandler, Router } from 'express'
import { describe, expect, it } from 'vitest'
import { protectedApp, says, world } from './express-tools.js'

const { guard } = world()

describe('types', () => {
  it('an app and a router come back as what they are, and handlers keep the types of their path', () => {
    const protect = createProtect(guard)
    const app: Express = protect(express())
    const router: Router = protect(Router())
    const handlers: RequestHandler[] = [protect('read:x'), protect(), protect.open('probe')]
    app.get('/x/:id', protect('read:x'), (req, res) => {
      const id: string = req.params.id
      res.json({ id })
    })
    app.get('/y/:id', protect({ resource: (req) => `y/${req.params['id']}` }), ...handlers, says('y'))
    app.use('/json', protect.middleware(express.json()), router)
    expect(protect.routes(app).map(({ action }) => action)).toEqual(['read:x', 'read:y'])
  })

  it('what is wrong does not compile, and throws when it is created', () => {
    const { protect } = protectedApp(world())
    // @ts-expect-error an action has a colon
    expect(() => protect('contacts')).toThrow(TypeError)
    // @ts-expect-error an option that does not exist
    expect(() => protect({ resourc: 'x' })).toThrow(TypeError)
    // @ts-expect-error a mode that does not exist
    expect(() => protect('read:x', { mode: 'off' })).toThrow(TypeError)
    // @ts-expect-error an action of the request is marked as such
    expect(() => protect({ action: () => 'read:x' })).toThrow(TypeError)
    // @ts-expect-error neither an app nor an action
    expect(() => protect(42)).toThrow(TypeError)
    // @ts-expect-error no reason
    expect(() => protect.open()).toThrow(TypeError)
    // @ts-expect-error not a middleware
    expect(() => protect.middleware('static')).toThrow(TypeError)
    // @ts-expect-error not a guard
    expect(() => createProtect({})).toThrow(TypeError)
    // @ts-expect-error an option that does not exist
    expect(() => createProtect(guard, { disclos: 'full' })).toThrow(TypeError)
  })

  it('an app has one protect', () => {
    const { app } = protectedApp(world())
    expect(() => createProtect(guard)(app)).toThrow(/another createProtect/)
    expect(() => createProtect(guard).routes(express())).toThrow(/not protected/)
  })
})
