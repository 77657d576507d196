import type { Delegation, NewDelegation } from '@meshguard/client'
import type { Command } from 'commander'
import { list } from '../arguments.js'
import { note, plain, print, printJson, printTable } from '../output.js'
import { keepToken, printToken } from '../secret-file.js'
import { openSession, type Run } from '../session.js'

/** `meshguard delegation …` */
export function addDelegation(program: Command, run: Run): void {
  const delegation = program.command('delegation').description('agents that act for other agents')
  delegation
    .command('create')
    .description('let one agent act for another and print its token, which is shown this once')
    .requiredOption('--from <agent>', 'the agent that hands on what it may do')
    .requiredOption('--to <agent>', 'the agent that acts')
    .requiredOption('--actions <patterns>', 'what is handed on, separated by commas', list)
    .requiredOption('--expires-in <time>', 'like 15m or 24h')
    .option('--parent <id>', 'the delegation to extend, where the first agent acts for another itself')
    .option('--reason <text>', 'for people')
    .option('--output <file>', 'write the token to a new file that nobody else can read, instead of printing it')
    .action(async ({ output, ...request }: NewDelegation & { output?: string }, command: Command) => {
      const { client, call, json } = openSession(command, run)
      const { token, ...made } = await keepToken(output, () => client.createDelegation(request, call))
      if (json) return printJson({ ...made, ...(output === undefined ? { token } : { output }) })
      print(`${plain(made.to)} acts for ${plain(made.from)} until ${made.expiresAt}: ${made.id}`)
      printToken(token, output)
    })
  delegation
    .command('list')
    .description('list delegations')
    .action(async (_options: object, command: Command) => {
      const { client, call, json } = openSession(command, run)
      const delegations = await client.listDelegations(call)
      if (json) return printJson({ delegations })
      if (delegations.length === 0) return note('There are none.')
      printTable<Delegation>(delegations, [
        { title: 'ID', of: ({ id }) => id },
        { title: 'FROM', of: ({ from }) => from },
        { title: 'TO', of: ({ to }) => to },
        { title: 'ACTIONS', of: ({ actions }) => actions },
        { title: 'EXPIRES', of: ({ expiresAt }) => expiresAt },
        { title: 'REVOKED', of: ({ revokedAt }) => revokedAt },
      ])
    })
  delegation
    .command('revoke <id>')
    .description('end a delegation, and every one that extends it')
    .action(async (id: string, _options: object, command: Command) => {
      const { client, call, json } = openSession(command, run)
      await client.revokeDelegation(id, call)
      if (json) printJson({ id, status: 'revoked' })
      else print(`Revoked ${plain(id)}`)
    })
}
