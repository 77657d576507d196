import { readFile } from 'node:fs/promises'
import { type LintRoute, type LintWarning, lintPolicyFiles, printable } from '@meshguard/core/node'
import type { Command } from 'commander'
import { CliError, EXIT, systemCode } from '../errors.js'
import { colour, print, printJson } from '../output.js'
import type { Run } from '../session.js'

/** `meshguard policy validate` */
export function addValidate(policy: Command, run: Run): void {
  policy
    .command('validate <path>')
    .description('check the policies of a file or folder, without a gateway, and warn of what they probably do not mean')
    .option('--routes <file>', 'the JSON of protect.routes(app): warn of rules that no route can reach')
    .option('--strict', 'end with 1 when there are warnings')
    .action(async (path: string, { routes, strict }: { routes?: string; strict?: true }, command: Command) => {
      const known = routes === undefined ? undefined : await readRoutes(routes)
      const { policies, files, warnings } = await lintPolicyFiles(path, { routes: known })
      if (strict && warnings.length > 0) run.exitCode = EXIT.denied
      if (command.optsWithGlobals()['json'] === true) {
        return printJson({ valid: true, policies: policies.policies.map(({ name }) => name), files, warnings })
      }
      for (const warning of warnings) print(inWords(warning))
      const counts = `${counted(policies.policies.length, 'policy', 'policies')} in ${counted(files.length, 'file', 'files')}`
      const more = warnings.length === 0 ? '' : `, ${counted(warnings.length, 'warning', 'warnings')}`
      print(`${colour('green', 'Valid')}: ${counts}${more}`)
    })
}

function inWords({ file, line, column, message, kind }: LintWarning): string {
  return `${printable(`${file}:${line}:${column}`)}: ${colour('yellow', 'warning')}: ${printable(message)} (${kind})`
}

function counted(count: number, one: string, many: string): string {
  return `${count} ${count === 1 ? one : many}`
}

async function readRoutes(file: string): Promise<LintRoute[]> {
  let rows: unknown
  try {
    rows = JSON.parse(await readFile(file, 'utf8'))
  } catch (error) {
    const why = systemCode(error) === 'ENOENT' ? 'no such file' : error instanceof Error ? error.message : String(error)
    throw new CliError(`${file}: ${why}`)
  }
  if (Array.isArray(rows) && rows.every(isRoute)) return rows
  throw new CliError(`${file}: expected the list that protect.routes(app) answers, as JSON`)
}

function isRoute(row: unknown): row is LintRoute {
  if (typeof row !== 'object' || row === null) return false
  const { action, dynamic } = row as { action?: unknown; dynamic?: unknown }
  return ['string', 'undefined'].includes(typeof action) && ['boolean', 'undefined'].includes(typeof dynamic)
}
