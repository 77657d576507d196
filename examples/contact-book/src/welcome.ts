import type { RouteRow } from '@meshguard/express'
import type { DemoAgent } from './agents.js'

/** What there is to tell. */
export interface Welcome {
  readonly origin: string
  /** The folder of the policies. */
  readonly policies: string
  readonly routes: readonly RouteRow[]
  readonly agents: Readonly<Record<string, DemoAgent>>
}

/** What a person sees first: the routes, the agents, and calls to paste. */
export function welcome({ origin, policies, routes, agents }: Welcome): string {
  return [
    `The contact book listens on ${origin}`,
    `Its policies are in ${policies}; edit them, and the next request is decided by the new ones.`,
    '',
    'Routes',
    ...table(
      routes.map(({ method, pattern, action, open }) => [
        method,
        pattern,
        open === undefined ? (action ?? '-') : `open: ${open}`,
      ]),
    ),
    '',
    'Agents (tokens are good for 8 hours)',
    ...Object.entries(agents).flatMap(([name, { agent, token }]) => [`  ${name} (${agent.trustTier})`, `    ${token}`]),
    '',
    'Try',
    ...calls(origin, agents).flatMap(([title, line]) => [`  ${title}`, `    ${line}`]),
    '',
    'Decisions are printed below. Ctrl-C stops.',
    '',
  ].join('\n')
}

/** The calls to paste: one allowed, one denied, one without a token, and too many. */
function calls(origin: string, agents: Readonly<Record<string, DemoAgent>>): ReadonlyArray<readonly [string, string]> {
  const curl = `curl -sSi -w '\\n'`
  const as = (name: string) => `-H 'Authorization: Bearer ${agents[name]?.token}'`
  const json = `-H 'Content-Type: application/json' -d '{"to":"ada@initech.example","subject":"Hello"}'`
  return [
    ['allowed (200): scout reads a contact', `${curl} ${as('scout')} ${origin}/contacts/42`],
    ['denied (403, with a trace ID): scout deletes it', `${curl} -X DELETE ${as('scout')} ${origin}/contacts/42`],
    ['no token (401)', `${curl} ${origin}/contacts/42`],
    [
      'rate limited (three are 202, the fourth is 429): nova sends four emails',
      `${curl} -X POST ${as('nova')} ${json} '${origin}/emails?nr=[1-4]'`,
    ],
  ]
}

function table(rows: readonly (readonly string[])[]): string[] {
  const widths = [0, 1].map((column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  return rows.map((row) => `  ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')}`)
}
