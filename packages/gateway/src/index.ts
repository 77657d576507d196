/**
 * The self-hosted gateway.
 *
 * @module
 */
export { type GatewayConfig, type GatewaySettings, readConfig } from './config.js'
export { createGateway, type Gateway, type GatewayOptions } from './create-gateway.js'
export type { Listening } from './server.js'
