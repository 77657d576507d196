import { Counter, Gauge, Histogram, type Registry } from 'prom-client'
import type { Metrics } from '../metrics.js'

const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5]

/** What is counted of bundles. */
export function bundleMetrics(registers: Registry[]): Pick<Metrics, 'bundleSigned' | 'bundleServed' | 'bundleStreams'> {
  const version = new Gauge({ name: 'meshguard_bundle_version', help: 'Version of the newest bundle', registers })
  const bytes = new Gauge({ name: 'meshguard_bundle_bytes', help: 'Size of the newest bundle', registers })
  const seconds = new Histogram({
    name: 'meshguard_bundle_sign_seconds',
    help: 'Bundles signed, reading what they hold included',
    buckets: SECONDS,
    registers,
  })
  const served = new Counter({
    name: 'meshguard_bundle_fetches_total',
    help: 'Answers to those who asked for the bundle, by status: 304 is one that had it',
    labelNames: ['status'],
    registers,
  })
  const streams = new Gauge({ name: 'meshguard_bundle_streams', help: 'Streams of bundle events that are open', registers })
  const counters = { 200: served.labels({ status: '200' }), 304: served.labels({ status: '304' }) }
  return {
    bundleSigned(bundle, took) {
      version.set(bundle.version)
      bytes.set(bundle.bytes.length)
      seconds.observe(took)
    },
    bundleServed: (status) => counters[status].inc(),
    bundleStreams: (change) => streams.inc(change),
  }
}
