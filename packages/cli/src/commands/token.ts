import type { NewServiceToken, Scope, ServiceToken } from '@meshguard/client'
import { type Command, InvalidArgumentError } from 'commander'
import { list } from '../arguments.js'
import { note, plain, print, printJson, printTable } from '../output.js'
import { keepToken, printToken } from '../secret-file.js'
import { openSession, type Run } from '../session.js'

const SCOPES: readonly Scope[] = ['decide', 'bundle', 'audit:write', 'audit:read', 'admin']

/** `meshguard token …` */
export function addToken(program: Command, run: Run): void {
  const token = program.command('token').description('service tokens, for applications that ask the gateway')
  token
    .command('create <name>')
    .description('make a service token and print it, which is done this once')
    .requiredOption('--scopes <scopes...>', `what it may be used for: ${SCOPES.join(', ')}`, addScopes)
    .option('--expires-in <time>', 'like 24h or 90d (default: it does not expire)')
    .option('--output <file>', 'write the token to a new file that nobody else can read, instead of printing it')
    .action(async (name: string, options: Omit<NewServiceToken, 'name'> & { output?: string }, command: Command) => {
      const { output, ...request } = options
      const { client, call, json } = openSession(command, run)
      const { token, ...made } = await keepToken(output, () => client.createToken({ name, ...request }, call))
      if (json) return printJson({ ...made, ...(output === undefined ? { token } : { output }) })
      print(`Made ${plain(made.name)} (${made.scopes.join(', ')}): ${made.id}`)
      printToken(token, output)
    })
  token
    .command('list')
    .description('list service tokens, without the tokens themselves')
    .action(async (_options: object, command: Command) => {
      const { client, call, json } = openSession(command, run)
      const tokens = await client.listTokens(call)
      if (json) return printJson({ tokens })
      if (tokens.length === 0) return note('There are none. Make one with: meshguard token create <name> --scopes decide')
      printTable<ServiceToken>(tokens, [
        { title: 'ID', of: ({ id }) => id },
        { title: 'NAME', of: ({ name }) => name },
        { title: 'SCOPES', of: ({ scopes }) => scopes },
        { title: 'CREATED', of: ({ createdAt }) => createdAt },
        { title: 'EXPIRES', of: ({ expiresAt }) => expiresAt },
      ])
    })
  token
    .command('revoke <id>')
    .description('delete a service token: it stops working at once')
    .action(async (id: string, _options: object, command: Command) => {
      const { client, call, json } = openSession(command, run)
      await client.revokeToken(id, call)
      if (json) printJson({ id, status: 'revoked' })
      else print(`Revoked ${plain(id)}`)
    })
}

/** `--scopes decide bundle` and `--scopes decide,bundle` */
function addScopes(text: string, before: readonly string[] = []): string[] {
  const scopes = list(text)
  const wrong = scopes.find((scope) => !(SCOPES as readonly string[]).includes(scope))
  if (wrong === undefined && scopes.length > 0) return [...before, ...scopes]
  throw new InvalidArgumentError(`Allowed choices are ${SCOPES.join(', ')}.`)
}
