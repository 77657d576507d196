import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import type { SignedBundle } from './bundles.js'

const compress = promisify(gzip)
const compressed = new WeakMap<SignedBundle, Promise<Uint8Array<ArrayBuffer>>>()

/** A bundle as gzip: made once, when somebody first wants it, beside the event loop. */
export function gzipOf(bundle: SignedBundle): Promise<Uint8Array<ArrayBuffer>> {
  const found = compressed.get(bundle) ?? compress(bundle.bytes)
  compressed.set(bundle, found)
  return found
}

const MAX_HEADER = 1024

/** Whether an `Accept-Encoding` header takes gzip (RFC 9110, 12.5.3). Without one, nothing is compressed. */
export function acceptsGzip(header = ''): boolean {
  const weights = new Map(header.slice(0, MAX_HEADER).toLowerCase().split(',').map(codingIn))
  return (weights.get('gzip') ?? weights.get('x-gzip') ?? weights.get('*') ?? 0) > 0
}

/** A coding and its weight; one that is no number is none. */
function codingIn(text: string): [string, number] {
  const [coding = '', ...parameters] = text.split(';').map((part) => part.trim())
  const weight = parameters.find((parameter) => parameter.startsWith('q='))
  return [coding, weight === undefined ? 1 : Number(weight.slice(2))]
}
