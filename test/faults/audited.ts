import type { World } from '../gateway/gateway-world.js'

/** An entry of the audit log, as far as it is looked at. */
interface Entry {
  readonly id: string
  readonly traceId: string
  /** Whoever shipped it; nobody did where the gateway itself decided. */
  readonly writer?: string
}

/** The trace IDs of all entries, in order, each as often as it is there. @throws Error when two entries have one ID. */
export async function auditedTraces(gateway: World, isCounted: (entry: Entry) => boolean = () => true): Promise<string[]> {
  const entries: Entry[] = []
  for (let cursor: string | undefined = ''; cursor !== undefined; ) {
    const answer = await gateway.admin('GET', `/admin/audit?limit=1000${cursor && `&cursor=${encodeURIComponent(cursor)}`}`)
    const page = (await answer.json()) as { entries: Entry[]; nextCursor?: string }
    entries.push(...page.entries)
    cursor = page.nextCursor
  }
  if (new Set(entries.map(({ id }) => id)).size < entries.length) throw new Error('Two entries have the same ID')
  return entries
    .filter(isCounted)
    .map(({ traceId }) => traceId)
    .sort()
}
