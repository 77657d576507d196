import type { Guard } from '@meshguard/core'
import { createProtect, decisionOf, type RouteRow } from '@meshguard/express'
import express, { type Express } from 'express'
import { ContactBook } from './contacts.js'
import { addRoutes } from './routes.js'

/** The contact book's API, and the table of its routes with their actions. */
export interface ContactBookApp {
  readonly app: Express
  readonly routes: readonly RouteRow[]
}

/** Builds the API. Every route is guarded: its action is derived from its method and pattern. */
export function createApp(guard: Guard, book = new ContactBook()): ContactBookApp {
  const protect = createProtect(guard)
  const app = protect(express())
  app.get('/health', protect.open('liveness probe'), (_req, res) => {
    res.json({ status: 'ok' })
  })
  addRoutes(app, book, (req) => decisionOf(req)?.agentId)
  protect.verify(app)
  return { app, routes: protect.routes(app) }
}

/**
 * The same API without a guard, as one that knows nothing of agents: it stands behind the gateway's proxy, and serves nobody
 * but who presents the proxy's own credential.
 */
export function createUpstream(authorization: string, book: ContactBook): Express {
  const app = express()
  app.use((req, res, next) => {
    if (req.headers.authorization === authorization) next()
    else res.status(401).json({ error: 'unauthorized', message: 'Call it through the gateway' })
  })
  return addRoutes(app, book, (req) => req.get('x-meshguard-agent-id'))
}
