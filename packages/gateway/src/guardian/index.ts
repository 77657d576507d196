/**
 * The guardian: what the gateway answers about decisions, by a signed bundle, beside whoever asks.
 *
 * @module
 */
export type { Listening } from '../server.js'
export { createGuardian, type Guardian, type GuardianOptions } from './create-guardian.js'
