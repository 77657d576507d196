/**
 * True when the tests meet the oldest frameworks that the peer ranges admit: express 5.1.0 with router 2.2.0, koa 2.15.0 with
 * @koa/router 13.0.0, hono 4.8.0, fastify 5.0.0. What those releases cannot do or spell is skipped there, with its reason.
 */
export const OLDEST = process.env['MESHGUARD_LOWER_BOUNDS'] !== undefined
