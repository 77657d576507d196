import { z } from 'zod'
import type { Operation } from './operation.js'

const etag = { ETag: 'The same on every replica; weak where the answer is compressed.' }

/** What guards fetch that decide where they are. */
export const BUNDLE_OPERATIONS: readonly Operation[] = [
  {
    tag: 'Bundles',
    caller: 'service',
    method: 'get',
    path: '/v1/bundle',
    id: 'bundle',
    summary: 'The signed bundle: policies, agents, delegations and token keys (scope `bundle`)',
    description:
      'A compact JWS (RFC 7515) of `typ` `meshguard-bundle+jws`, signed with Ed25519 by a key of `/.well-known/jwks.json` that has this `typ`. Its version only ever grows; it is signed anew after every change and once an hour, and is valid for 24 h. Compressed with gzip where `Accept-Encoding` takes that.',
    headers: z.object({
      'If-None-Match': z.string().optional().meta({ description: 'The ETag of the bundle that is held.' }),
    }),
    answers: {
      200: { description: 'The bundle.', types: ['application/jose'], headers: etag },
      304: { description: 'It is the one that is held.', headers: etag },
    },
    refusals: [401, 403, 409, 503],
  },
  {
    tag: 'Bundles',
    caller: 'service',
    method: 'get',
    path: '/v1/bundle/stream',
    id: 'streamBundle',
    summary: 'An event for every new bundle, as server-sent events (scope `bundle`)',
    description:
      'Begins with the newest one. `event: bundle`, `id` is its ETag without the quotes, `data` is `{"version", "issuedAt"}`. A comment every 15 s is a sign of life. Who reads too slowly is disconnected.',
    answers: { 200: { description: 'Events for as long as somebody reads.', types: ['text/event-stream'] } },
    refusals: [401, 403, 409, 429, 503],
  },
]
