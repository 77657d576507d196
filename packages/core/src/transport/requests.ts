/**
 * Whether what one request began, a fetch or a timer, goes on when that request is over. Not on Cloudflare Workers: there it is
 * dropped without a word, its promises never settle, and whoever shares them waits for ever.
 */
export const IO_OUTLIVES_REQUESTS = globalThis.navigator?.userAgent !== 'Cloudflare-Workers'
