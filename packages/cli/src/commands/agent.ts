import type { AgentQuery, AgentUpdate, NewAgent, RegisteredAgent, TokenRequest } from '@meshguard/client'
import { type Command, Option } from 'commander'
import { jsonObject, list, trustOption, wholeNumber } from '../arguments.js'
import { CliError } from '../errors.js'
import { note, plain, print, printFields, printJson, printTable } from '../output.js'
import { keepToken, printToken } from '../secret-file.js'
import { openSession, type Run } from '../session.js'

/** `meshguard agent …` */
export function addAgent(program: Command, run: Run): void {
  const agent = program.command('agent').description('agents and their tokens')
  addReading(agent, run)
  addWriting(agent, run)
}

function addReading(agent: Command, run: Run): void {
  agent
    .command('list')
    .description('list agents, oldest first')
    .addOption(trustOption('of this tier'))
    .option('--tag <tag>', 'with this tag')
    .addOption(new Option('--status <status>', 'active or revoked').choices(['active', 'revoked']))
    .option('--limit <count>', 'at most so many', wholeNumber(1))
    .action(async ({ trust, ...query }: AgentQuery & { trust?: AgentQuery['trustTier'] }, command: Command) => {
      const { client, call, json } = openSession(command, run)
      const agents = await client.listAgents({ trustTier: trust, ...query }, call)
      if (json) return printJson({ agents })
      if (agents.length === 0) return note('There are no such agents. Make one with: meshguard agent create <name>')
      printTable<RegisteredAgent>(agents, [
        { title: 'ID', of: ({ id }) => id },
        { title: 'NAME', of: ({ name }) => name },
        { title: 'TRUST', of: ({ trustTier }) => trustTier },
        { title: 'TAGS', of: ({ tags }) => tags },
        { title: 'STATUS', of: ({ status }) => status },
        { title: 'LAST SEEN', of: ({ lastSeenAt }) => lastSeenAt },
      ])
    })
  agent
    .command('show <id>')
    .description('show an agent')
    .action(async (id: string, _options: object, command: Command) => {
      const { client, call, json } = openSession(command, run)
      const found = await client.getAgent(id, call)
      if (json) printJson(found)
      else printFields({ ...found })
    })
}

interface Attributes {
  readonly name?: string
  readonly trust?: NewAgent['trustTier']
  readonly tags?: string[]
  readonly metadata?: Record<string, unknown>
}

function addWriting(agent: Command, run: Run): void {
  agent
    .command('create <name>')
    .description('register an agent and print its token, which is shown this once')
    .addOption(trustOption('how far it is trusted (default: verified)'))
    .option('--tags <tags>', 'its tags, separated by commas', list)
    .option('--metadata <json>', 'a JSON object that conditions can read', jsonObject)
    .option('--output <file>', 'write the token to a new file that nobody else can read, instead of printing it')
    .action(async (name: string, { output, ...given }: Attributes & { output?: string }, command: Command) => {
      const { client, call, json } = openSession(command, run)
      const { token, ...made } = await keepToken(output, () => client.createAgent({ name, ...attributes(given) }, call))
      if (json) return printJson({ ...made, ...(output === undefined ? { token } : { output }) })
      print(`Created ${plain(made.name)} (${made.trustTier}): ${made.id}`)
      printToken(token, output)
    })
  agent
    .command('update <id>')
    .description('change what is given; the next request of the agent is decided by it')
    .option('--name <name>', 'its name')
    .addOption(trustOption('how far it is trusted'))
    .option('--tags <tags>', 'all of its tags, separated by commas; "" for none', list)
    .option('--metadata <json>', 'a JSON object that conditions can read', jsonObject)
    .action(async (id: string, { name, ...given }: Attributes, command: Command) => {
      const change: AgentUpdate = { ...(name !== undefined && { name }), ...attributes(given) }
      if (Object.keys(change).length === 0) throw new CliError('Nothing to change. Give --name, --trust, --tags or --metadata')
      const { client, call, json } = openSession(command, run)
      const changed = await client.updateAgent(id, change, call)
      if (json) printJson(changed)
      else printFields({ ...changed })
    })
  agent
    .command('revoke <id>')
    .description('revoke an agent for good: its next request is refused')
    .action(async (id: string, _options: object, command: Command) => {
      const { client, call, json } = openSession(command, run)
      await client.revokeAgent(id, call)
      if (json) printJson({ id, status: 'revoked' })
      else print(`Revoked ${plain(id)}`)
    })
  agent
    .command('token <id>')
    .description('issue another token, which is shown this once')
    .option('--expires-in <time>', 'like 15m, 24h or 7d')
    .option('--revoke-previous', 'every token that the agent had so far stops working')
    .option('--output <file>', 'write the token to a new file that nobody else can read, instead of printing it')
    .action(async (id: string, { output, ...request }: TokenRequest & { output?: string }, command: Command) => {
      const { client, call, json } = openSession(command, run)
      const { token, ...made } = await keepToken(output, () => client.issueToken(id, request, call))
      if (json) return printJson({ ...made, ...(output === undefined ? { token } : { output }) })
      print(`Issued a token for ${plain(id)}, good until ${made.expiresAt}`)
      printToken(token, output)
    })
}

function attributes({ trust, tags, metadata }: Attributes): AgentUpdate {
  return {
    ...(trust !== undefined && { trustTier: trust }),
    ...(tags !== undefined && { tags }),
    ...(metadata !== undefined && { metadata }),
  }
}
