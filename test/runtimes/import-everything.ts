/**
 * Runs in workerd, where fetching, timers and random numbers in global scope throw: imports every public entry that is not for
 * Node alone, and makes in global scope what can be made there.
 */

// biome-ignore assist/source/organizeImports: what is begun is kept from here on
import { begun } from './begun.js'
import * as client from '@meshguard/client'
import * as core from '@meshguard/core'
import * as bundle from '@meshguard/core/bundle'
import * as http from '@meshguard/core/http'
import * as policy from '@meshguard/core/policy'
import * as testing from '@meshguard/core/testing'
import * as tokens from '@meshguard/core/tokens'
import * as yaml from '@meshguard/core/yaml'
import * as hono from '@meshguard/hono'

const url = 'http://127.0.0.1:1'
const guard = core.createGuard({ source: core.fromPolicies([]), audit: core.auditToConsole() })
const made = [
  guard,
  hono.createProtect(guard),
  core.fromGateway({ url, token: 'msvc_service' }),
  core.fromBundle({ url, jwks: `${url}/.well-known/jwks.json`, cache: bundle.cacheInMemory() }),
  core.agentTokens({ jwks: `${url}/.well-known/jwks.json` }),
  core.auditToGateway({ url, token: 'msvc_service' }),
  new client.MeshGuardClient({ gatewayUrl: url }),
]

/** What importing and making began; nothing is asked for after this line. */
const inGlobalScope = [...begun]
const imported = {
  '@meshguard/client': client,
  '@meshguard/core': core,
  '@meshguard/core/bundle': bundle,
  '@meshguard/core/http': http,
  '@meshguard/core/policy': policy,
  '@meshguard/core/testing': testing,
  '@meshguard/core/tokens': tokens,
  '@meshguard/core/yaml': yaml,
  '@meshguard/hono': hono,
}

export default {
  fetch: () => Response.json({ imported: Object.keys(imported), made: made.length, begun: inGlobalScope }),
}
