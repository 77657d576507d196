/**
 * The self-hosted gateway.
 *
 * @module
 */
export type { GatewayConfig } from './config.js'
