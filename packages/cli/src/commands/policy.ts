import type { ListedPolicy } from '@meshguard/client'
import { lintPolicyFiles } from '@meshguard/core/node'
import { documentOf } from '@meshguard/core/policy'
import type { Command } from 'commander'
import { CliError } from '../errors.js'
import { note, plain, print, printJson, printTable } from '../output.js'
import { startProgress } from '../progress.js'
import { openSession, type Run, type Session } from '../session.js'
import { addPolicyTest } from './policy-test.js'
import { addValidate } from './policy-validate.js'

/** `meshguard policy …` */
export function addPolicy(program: Command, run: Run): void {
  const policy = program.command('policy').description('policies')
  addReading(policy, run)
  addWriting(policy, run)
  addValidate(policy, run)
  addPolicyTest(policy, run)
}

function addReading(policy: Command, run: Run): void {
  policy
    .command('list')
    .description('list the policies of the gateway')
    .action(async (_options: object, command: Command) => {
      const { client, call, json } = openSession(command, run)
      const [policies, problem] = await Promise.all([client.listPolicies(call), client.policyProblem(call)])
      if (json) return printJson({ policies, problem })
      if (problem !== undefined) note(`Not in force, so the last good policies are: ${plain(problem)}`)
      if (policies.length === 0)
        return note('There are none, so everything is denied. Make one with: meshguard policy apply <file>')
      printTable<ListedPolicy>(policies, [
        { title: 'NAME', of: ({ name }) => name },
        { title: 'RULES', of: ({ rules }) => rules.length },
        { title: 'ORIGIN', of: ({ origin, shadowed }) => (shadowed ? `${origin} (shadowed by a file)` : origin) },
        { title: 'VERSION', of: ({ version }) => version },
        { title: 'UPDATED', of: ({ updatedAt }) => updatedAt },
        { title: 'DESCRIPTION', of: ({ description }) => description },
      ])
    })
  policy
    .command('show <name>')
    .description('print a policy as JSON, as it can be applied again')
    .action(async (name: string, _options: object, command: Command) => {
      const { client, call, json } = openSession(command, run)
      const { origin, revision, updatedAt, shadowed, ...document } = await client.getPolicy(name, call)
      printJson(json ? { ...document, origin, revision, updatedAt, shadowed } : document)
    })
}

function addWriting(policy: Command, run: Run): void {
  policy
    .command('apply <path>')
    .description('put the policies of a file or folder in force, in the place of those of the same names')
    .action(async (path: string, _options: object, command: Command) => {
      const { policies, warnings } = await lintPolicyFiles(path)
      const session = openSession(command, run)
      await refuseFilePolicies(session, new Set(policies.policies.map(({ name }) => name)))
      const applied = await applyAll(session, policies.policies.map(documentOf))
      if (session.json) return printJson({ applied })
      print(`Applied ${applied.map(({ name }) => name).join(', ')}`)
      if (warnings.length > 0) note(`With ${warnings.length} warnings. See: meshguard policy validate ${path}`)
    })
  policy
    .command('delete <name>')
    .description('take a policy out of force')
    .action(async (name: string, _options: object, command: Command) => {
      const { client, call, json } = openSession(command, run)
      await client.deletePolicy(name, call)
      if (json) printJson({ name, deleted: true })
      else print(`Deleted ${plain(name)}`)
    })
}

/** Looked at before anything is written: a policy of a file wins over one of its name that comes through the API. */
async function refuseFilePolicies({ client, call }: Session, names: ReadonlySet<string>): Promise<void> {
  const inFiles = (await client.listPolicies(call)).filter(({ name, origin }) => origin === 'file' && names.has(name))
  if (inFiles.length === 0) return
  const list = inFiles.map(({ name }) => name).join(', ')
  throw new CliError(
    `Nothing was applied: ${list} belongs to a file in the gateway's POLICIES_DIR. Change it there, or rename yours`,
  )
}

interface Applied {
  readonly name: string
  readonly revision?: number | undefined
}

/** One after the other: each is in force whole or not at all, and when one is refused it is said which ones are. */
async function applyAll({ client, call }: Session, documents: readonly ReturnType<typeof documentOf>[]): Promise<Applied[]> {
  const applied: Applied[] = []
  const progress = startProgress('Applying policies…')
  try {
    for (const document of documents) {
      const { name, revision } = await client.applyPolicy(document, call)
      applied.push({ name, revision })
      progress.say(`Applying policies… ${applied.length} of ${documents.length}`)
    }
    return applied
  } catch (error) {
    progress.end()
    const done = applied.map(({ name }) => name).join(', ') || 'none'
    note(`Applied ${applied.length} of ${documents.length} (${done}) when "${documents[applied.length]?.name}" failed.`)
    throw error
  } finally {
    progress.end()
  }
}
