import { type Logger, pino } from 'pino'

/** The gateway's warnings as lines that people read, beside the decisions. In production leave its JSON as it is. */
export function readableLog(): Logger {
  return pino({ level: 'warn', base: null, timestamp: false }, { write: (line) => console.error(sentence(line)) })
}

function sentence(line: string): string {
  const { msg, problem, err } = JSON.parse(line) as { msg: string; problem?: string; err?: { message: string } }
  const why = problem ?? err?.message
  return why === undefined ? msg : `${msg}: ${why}`
}
