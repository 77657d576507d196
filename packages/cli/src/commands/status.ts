import type { Command } from 'commander'
import { EXIT } from '../errors.js'
import { colour, note, print, printFields, printJson } from '../output.js'
import { gatewayUrlOf, openPlainSession, type Run } from '../session.js'

/** `meshguard status` */
export function addStatus(program: Command, run: Run): void {
  program
    .command('status')
    .description('say how the gateway is; ends with 1 unless it is healthy')
    .action(async (_options: object, command: Command) => {
      const { client, call, json } = openPlainSession(command, run)
      const health = await client.health(call)
      const isHealthy = health.status === 'healthy'
      if (!isHealthy) run.exitCode = EXIT.denied
      if (json) return printJson(health)
      const url = gatewayUrlOf(command.optsWithGlobals())
      print(`Gateway at ${url} is ${colour(isHealthy ? 'green' : 'yellow', health.status)}`)
      const { version, mode, uptimeSeconds, checks } = health
      printFields({ version, mode, up: `${uptimeSeconds} s`, ...checks })
      if (checks.policies !== 'ok') note('Why the policies are not in force: meshguard policy list')
    })
}
