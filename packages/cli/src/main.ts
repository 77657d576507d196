/** The `meshguard` command. */
import { runProgram } from './program.js'
import type { Run } from './session.js'

/** What a shell says of a process that a signal ended. */
const SIGNALS = { SIGINT: 130, SIGTERM: 143 } as const
/** How long a command may take to leave nothing behind. `serve` closes its gateway within 10 s. */
const GRACE_MS = 12_000

const ending = new AbortController()
const run: Run = { signal: ending.signal, exitCode: 0 }

for (const [signal, code] of Object.entries(SIGNALS) as [keyof typeof SIGNALS, number][]) {
  process.on(signal, () => {
    if (ending.signal.aborted) process.exit(code)
    run.exitCode = code
    ending.abort()
    setTimeout(() => process.exit(code), GRACE_MS).unref()
  })
}

// Whoever reads what is printed has read enough, as `head` does.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (run.serves === true) return
  if (error.code === 'EPIPE') process.exit(run.exitCode)
  throw error
})

// There is nowhere left to say it; the exit code still does.
process.stderr.on('error', () => undefined)

process.exitCode = await runProgram(process.argv.slice(2), run)
