import { type BundleSource, type FromBundleOptions, fromBundle, type MeshGuardError } from '@meshguard/core'
import type { Publisher } from './publisher.js'

/** Sources of the tests of one file. */
export interface Sources {
  /** Makes one that asks the publisher, with the test's own options. */
  start(options?: Partial<FromBundleOptions>): BundleSource
  /** What they told `onError`, since they were closed last. */
  readonly errors: MeshGuardError[]
  close(): Promise<void>
}

/** Sources that ask the publisher of a test, and say nothing on the terminal. */
export function sourcesOf(publisher: () => Publisher, usual: Partial<FromBundleOptions> = {}): Sources {
  const open: BundleSource[] = []
  const errors: MeshGuardError[] = []
  return {
    errors,
    start(options) {
      const { url, signer } = publisher()
      const source = fromBundle({
        url,
        ...signer.options,
        onError: (error: MeshGuardError) => void errors.push(error),
        onReload: () => undefined,
        ...usual,
        ...options,
      } as FromBundleOptions)
      open.push(source)
      return source
    },
    async close() {
      for (const source of open.splice(0)) await source.close()
      errors.length = 0
    },
  }
}
