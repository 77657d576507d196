import { once } from 'node:events'
import type { AuditExport } from '@meshguard/client'
import { type Command, Option } from 'commander'
import { moment } from '../arguments.js'
import { CliError, EXIT } from '../errors.js'
import { print, printJson } from '../output.js'
import { size, startProgress } from '../progress.js'
import { openSession, type Run, type Session } from '../session.js'
import { openWholeFile, unwritable } from '../whole-file.js'

/** `meshguard audit export` */
export function addExport(audit: Command, run: Run): void {
  audit
    .command('export')
    .description('write the log as JSON lines or CSV, oldest entry first')
    .option('--from <time>', 'from this time on: 2026-01-31, 2026-01-31T09:00:00Z, or 24h ago as "24h"', moment)
    .option('--to <time>', 'before this time', moment)
    .addOption(new Option('--format <format>', 'how').choices(['jsonl', 'csv']).default('jsonl'))
    .option('--output <file>', 'into a file, which is replaced when all of it is there (default: stdout)')
    .action(async ({ output, ...what }: AuditExport & { output?: string }, command: Command) => {
      const session = openSession(command, run)
      if (output === undefined) {
        await exportTo(session, what, writeToStdout)
        return
      }
      const file = await openWholeFile(output, { replace: true })
      let bytes: number
      try {
        bytes = await exportTo(session, what, (chunk) => file.handle.appendFile(chunk))
      } catch (error) {
        await file.discard()
        throw unwritable(output, error)
      }
      await file.commit()
      if (session.json) printJson({ output, bytes, format: what.format })
      else print(`Wrote ${size(bytes)} to ${output}`)
    })
}

async function exportTo(
  { client, call }: Session,
  what: AuditExport,
  write: (chunk: Uint8Array) => Promise<unknown>,
): Promise<number> {
  const stream = await client.exportAudit(what, call)
  const progress = startProgress('Exporting the audit log…')
  let bytes = 0
  try {
    for await (const chunk of stream as AsyncIterable<Uint8Array>) {
      await write(chunk)
      bytes += chunk.byteLength
      progress.say(`Exporting the audit log… ${size(bytes)}`)
    }
    return bytes
  } catch (error) {
    // What `fetch` says of a connection that broke off.
    if (error instanceof TypeError) throw new CliError(BROKEN, EXIT.unreachable)
    throw error
  } finally {
    progress.end()
  }
}

const BROKEN = 'The export broke off: the gateway went away. Try again'

/** Waits for a slow reader. */
async function writeToStdout(chunk: Uint8Array): Promise<void> {
  if (!process.stdout.write(chunk)) await once(process.stdout, 'drain')
}
