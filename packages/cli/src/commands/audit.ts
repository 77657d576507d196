import type { AuditEntry, AuditFilter, AuditQuery } from '@meshguard/client'
import { type Command, Option } from 'commander'
import { moment, wholeNumber } from '../arguments.js'
import { EXIT } from '../errors.js'
import { colour, note, plain, print, printFields, printJson, printJsonLine, printTable, verdict } from '../output.js'
import { startProgress } from '../progress.js'
import { openSession, type Run } from '../session.js'
import { addExport } from './audit-export.js'

/** `meshguard audit …` */
export function addAudit(program: Command, run: Run): void {
  const audit = program.command('audit').description('the audit log')
  addTail(audit, run)
  addQuery(audit, run)
  addSummaries(audit, run)
  addExport(audit, run)
  addVerify(audit, run)
}

function addTail(audit: Command, run: Run): void {
  filters(audit.command('tail'))
    .description('print the latest entries, oldest first')
    .option('-n, --lines <count>', 'how many', wholeNumber(0), 10)
    .option('-f, --follow', 'go on with new ones until Ctrl-C')
    .action(async ({ lines, follow, ...filter }: Filters & { lines: number; follow?: true }, command: Command) => {
      const { client, call, json } = openSession(command, run)
      const write = json ? printJsonLine : printEntry
      const query = filterOf(filter)
      const latest = await client.getAuditLog({ ...query, limit: Math.max(1, lines) }, call)
      for (const entry of latest.slice(0, lines).reverse()) write(entry)
      if (!follow) return
      for await (const entry of client.streamAudit({ ...query, lastEventId: latest[0]?.id }, call)) write(entry)
      run.exitCode = EXIT.done
    })
}

function addQuery(audit: Command, run: Run): void {
  filters(audit.command('query'))
    .description('print the entries that fit, newest first')
    .option('--from <time>', 'from this time on: 2026-01-31, 2026-01-31T09:00:00Z, or 24h ago as "24h"', moment)
    .option('--to <time>', 'before this time', moment)
    .option('--limit <count>', 'at most so many', wholeNumber(1), 50)
    .action(async ({ from, to, limit, ...filter }: Filters & Pick<AuditQuery, 'from' | 'to' | 'limit'>, command: Command) => {
      const { client, call, json } = openSession(command, run)
      const entries = await client.getAuditLog({ ...filterOf(filter), from, to, limit }, call)
      if (json) return printJson({ entries })
      if (entries.length === 0) return note('No entry fits.')
      for (const entry of entries) printEntry(entry)
    })
}

function addSummaries(audit: Command, run: Run): void {
  audit
    .command('trace <id>')
    .description('print everything that belongs to one trace, oldest first')
    .action(async (id: string, _options: object, command: Command) => {
      const { client, call, json } = openSession(command, run)
      const entries = await client.getTrace(id, call)
      if (json) return printJson({ entries })
      if (entries.length === 0) return note(`There is no entry of trace ${plain(id)}.`)
      for (const entry of entries) printEntry(entry)
    })
  audit
    .command('stats')
    .description('count what was allowed and denied')
    .option('--period <time>', 'like 1h, 24h or 7d', '24h')
    .action(async ({ period }: { period: string }, command: Command) => {
      const { client, call, json } = openSession(command, run)
      const stats = await client.getAuditStats({ period }, call)
      if (json) return printJson(stats)
      const { total, allowed, denied, topDenied } = stats
      printFields({ period: stats.period, total, allowed, denied })
      if (topDenied.length === 0) return
      print()
      printTable(topDenied, [
        { title: 'DENIED', of: ({ count }) => count },
        { title: 'ACTION', of: ({ action }) => action },
      ])
    })
}

function addVerify(audit: Command, run: Run): void {
  audit
    .command('verify')
    .description('verify that no entry was changed, removed, moved or cut off; ends with 1 if one was')
    .action(async (_options: object, command: Command) => {
      const { client, call, json } = openSession(command, run)
      const progress = startProgress('Verifying the audit log…')
      const { valid, entries, firstBad } = await client.verifyAudit({ ...call, timeoutMs: VERIFY_MS }).finally(progress.end)
      if (!valid) run.exitCode = EXIT.denied
      if (json) return printJson({ valid, entries, ...(firstBad && { firstBad }) })
      if (valid) return print(`${colour('green', 'The audit log is intact')}: ${entries} entries`)
      const where = firstBad === undefined ? '' : ` ${plain(firstBad.id)}: ${plain(firstBad.reason)}`
      print(`${colour('red', 'The audit log is not what it was')}.${where && ` First bad entry:${where}`}`)
    })
}

/** A long log takes its time; it is Ctrl-C that ends the waiting. */
const VERIFY_MS = 24 * 3_600_000

interface Filters extends Pick<AuditFilter, 'decision' | 'action' | 'policy'> {
  readonly agent?: string
  readonly trace?: string
}

function filters(command: Command): Command {
  return command
    .option('--agent <id>', 'of this agent')
    .option('--action <pattern>', 'of this action; * stands for anything')
    .addOption(new Option('--decision <decision>', 'allow or deny').choices(['allow', 'deny']))
    .option('--policy <name>', 'decided by this policy')
    .option('--trace <id>', 'of this trace')
}

function filterOf({ agent, trace, ...filter }: Filters): AuditFilter {
  return { ...filter, agentId: agent, traceId: trace }
}

/** Who made a change, in parentheses as it is no agent. */
function operatorOf({ operator }: AuditEntry): string | undefined {
  const { name } = (operator ?? {}) as { readonly name?: unknown }
  return typeof name === 'string' ? `(${name})` : undefined
}

/** A name with blanks is quoted, as in the lines that guards print. */
function nameOf(rule: string): string {
  return plain(rule).includes(' ') ? JSON.stringify(plain(rule)) : plain(rule)
}

function printEntry(entry: AuditEntry): void {
  const { timestamp, decision, agentName, agentId, action, resource, code, policy, rule, reason, traceId } = entry
  const by = policy === undefined ? code : `${code} by ${plain(policy)}${rule === undefined ? '' : `/${nameOf(rule)}`}`
  const words = [
    plain(timestamp),
    verdict(decision),
    plain(agentName ?? agentId ?? operatorOf(entry)),
    plain(action),
    ...(resource === undefined ? [] : [plain(resource)]),
    by,
    ...(reason === undefined ? [] : [JSON.stringify(plain(reason))]),
    colour('dim', `trace ${plain(traceId)}`),
  ]
  print(words.join(' '))
}
