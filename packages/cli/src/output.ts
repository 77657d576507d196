/** What is written to the terminal. Everything that came from elsewhere is made printable: an agent's name may hold anything. */
import { styleText } from 'node:util'
import { printable } from '@meshguard/core/node'

type Colour = Parameters<typeof styleText>[0]

/** Coloured where stdout is a terminal that shows colours; `NO_COLOR` and `FORCE_COLOR` are honoured. */
export function colour(format: Colour, text: string): string {
  return styleText(format, text, { stream: process.stdout })
}

/** `allow` in green, anything else in red. */
export function verdict(decision: string): string {
  return colour(decision === 'allow' ? 'green' : 'red', decision.toUpperCase().padEnd(5))
}

/** A line on stdout. */
export function print(line = ''): void {
  process.stdout.write(`${line}\n`)
}

/** A line on stderr: for people, beside what a program reads. */
export function note(line: string): void {
  process.stderr.write(`${line}\n`)
}

/** JSON on stdout, indented. */
export function printJson(value: unknown): void {
  print(printable(JSON.stringify(value, undefined, 2)))
}

/** JSON on stdout, on one line. */
export function printJsonLine(value: unknown): void {
  print(printable(JSON.stringify(value)))
}

/** A value in one line, in which nothing acts on a terminal. */
export function plain(value: unknown): string {
  if (value === undefined || value === null || value === '') return '-'
  const text = Array.isArray(value) ? value.join(', ') : typeof value === 'object' ? JSON.stringify(value) : String(value)
  return printable(text).replaceAll('\n', '\\n') || '-'
}

/** A column of a table. */
export interface Column<T> {
  readonly title: string
  readonly of: (row: T) => unknown
}

/** Rows below their titles, each column as wide as its widest cell. */
export function printTable<T>(rows: readonly T[], columns: readonly Column<T>[]): void {
  const cells = rows.map((row) => columns.map(({ of }) => plain(of(row))))
  const widths = columns.map(({ title }, i) => Math.max(title.length, ...cells.map((row) => row[i]?.length ?? 0)))
  const line = (row: readonly string[]) =>
    row
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd()
  print(colour('bold', line(columns.map(({ title }) => title))))
  for (const row of cells) print(line(row))
}

/** Names and values below each other. */
export function printFields(fields: Readonly<Record<string, unknown>>): void {
  const shown = Object.entries(fields).filter(([, value]) => value !== undefined)
  const width = Math.max(...shown.map(([name]) => name.length))
  for (const [name, value] of shown) print(`${colour('bold', name.padEnd(width))}  ${plain(value)}`)
}
