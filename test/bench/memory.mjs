/**
 * What a million checks leave in the memory of a gateway. Every one is of another action and resource, so that whatever is
 * remembered by what a client sends is filled. Memory is looked at after a full collection, at every 100 000.
 */
import { processes } from './processes.mjs'

const STRETCH = 100_000
const MB = 1e6

/**
 * @param total How many checks.
 * @param onTwoCores Whether the gateway is pinned to the first core and the load to the second.
 */
export async function benchMemory({ total, onTwoCores, say }) {
  const { start, load } = processes(onTwoCores)
  const { url, token, usage, stop } = await start('0', ['gateway'], ['--expose-gc'])
  const rows = []
  const look = async (checks, perSecond) => {
    const { rss, heapUsed, external } = await usage()
    const [heapMB, externalMB, rssMB] = [heapUsed, external, rss].map((bytes) => Math.round((10 * bytes) / MB) / 10)
    rows.push({ checks, heapMB, externalMB, rssMB, perSecond })
  }
  await look(0)
  for (let checks = STRETCH; checks <= total; checks += STRETCH) {
    const { perSecond } = await load('memory-load.mjs', [url, token, STRETCH, checks - STRETCH])
    await look(checks, perSecond)
    say(`memory: ${checks} checks`)
  }
  stop()
  console.table(rows)
  return rows
}
