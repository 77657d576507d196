import { createServer, type RequestListener, type Server } from 'node:http'
import { createAdaptorServer } from '@hono/node-server'
import type { FastifyInstance } from 'fastify'
import type { Hono } from 'hono'
import type Koa from 'koa'
import type { Binding } from '../contracts/adapter.js'
import { kit as express } from './express.js'
import { kit as fastify } from './fastify.js'
import { kit as hono } from './hono.js'
import { kit as koa } from './koa.js'
import { served } from './sockets.js'

const features = ['socket', 'any-method'] as const

/** Every framework, served by Node on a loopback port. */
export const bindings = {
  express: { kit: express, features, serve: (app) => served(createServer(app as RequestListener)) },
  koa: { kit: koa, features, serve: (app) => served(createServer((app as Koa).callback() as RequestListener)) },
  hono: { kit: hono, features, serve: (app) => served(createAdaptorServer({ fetch: (app as Hono).fetch }) as Server) },
  fastify: {
    kit: fastify,
    features,
    async serve(app) {
      const instance = app as FastifyInstance
      await instance.listen({ port: 0, host: '127.0.0.1' })
      return served(instance.server, () => instance.close())
    },
  },
} satisfies Record<string, Binding>

export type Framework = keyof typeof bindings
