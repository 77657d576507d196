import type { RouteRow } from '@meshguard/express'
import type { DemoAgent, DemoAgents } from './agents.js'

/** What there is to tell. */
export interface Welcome {
  /** Where the contact book listens. */
  readonly book: string
  /** Where the gateway listens. */
  readonly gateway: string
  readonly dataDir: string
  /** The folder of the policies. */
  readonly policies: string
  readonly routes: readonly RouteRow[]
  readonly agents: DemoAgents
}

/** What a person sees first: the routes, the agents, and calls to paste. */
export function welcome({ book, gateway, dataDir, policies, routes, agents }: Welcome): string {
  return [
    `The gateway listens on ${gateway}, with its data in ${dataDir}`,
    `The contact book listens on ${book}, and asks the gateway`,
    `The policies are in ${policies}; edit them, and the next request is decided by the new ones.`,
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
    ...Object.values(agents).flatMap(({ name, trustTier, token }) => [`  ${name} (${trustTier})`, `    ${token}`]),
    '',
    'Try the contact book itself',
    ...calls(book, agents.scout, agents.nova),
    '',
    'Try one that has no guard, through the proxy of the gateway',
    ...calls(`${gateway}/proxy`, agents.scout, agents.steward),
    '',
    'Decisions are printed below. Ctrl-C stops.',
    '',
  ].join('\n')
}

/** The calls to paste: one allowed, one denied, one without a token, and too many. */
function calls(origin: string, reader: DemoAgent, sender: DemoAgent): string[] {
  const curl = `curl -sSi -w '\\n'`
  const as = ({ token }: DemoAgent) => `-H 'Authorization: Bearer ${token}'`
  const json = `-H 'Content-Type: application/json' -d '{"to":"ada@initech.example","subject":"Hello"}'`
  const titled = [
    [`allowed (200): ${reader.name} reads a contact`, `${curl} ${as(reader)} ${origin}/contacts/42`],
    [`denied (403, with a trace ID): ${reader.name} deletes it`, `${curl} -X DELETE ${as(reader)} ${origin}/contacts/42`],
    ['no token (401)', `${curl} ${origin}/contacts/42`],
    [
      `rate limited (three are 202, the fourth is 429): ${sender.name} sends four emails`,
      `${curl} -X POST ${as(sender)} ${json} '${origin}/emails?nr=[1-4]'`,
    ],
  ]
  return titled.flatMap(([title, line]) => [`  ${title}`, `    ${line}`])
}

function table(rows: readonly (readonly string[])[]): string[] {
  const widths = [0, 1].map((column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  return rows.map((row) => `  ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')}`)
}
