/**
 * The `meshguard` command. What is here is for programs that run it.
 *
 * @module
 */
export { EXIT } from './errors.js'
