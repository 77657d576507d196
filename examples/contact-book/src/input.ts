import type { NextFunction, Request, Response } from 'express'
import type { Contact } from './contacts.js'

/** What a contact consists of, without its number. */
export type Details = Omit<Contact, 'id'>

/** The details that a body has; those that are missing, empty or no text are left out. */
export function readDetails(req: Request): Partial<Details> {
  const { name, email, company } = bodyOf(req)
  return Object.fromEntries(Object.entries({ name, email, company }).filter(([, value]) => textOf(value) !== ''))
}

/** Whether all details are there. */
export function isComplete(details: Partial<Details>): details is Details {
  return Object.keys(details).length === 3
}

/** The receiver and subject of an email, if both are there. */
export function readEmail(req: Request): { to: string; subject: string } | undefined {
  const { to, subject } = bodyOf(req)
  return textOf(to) === '' || textOf(subject) === '' ? undefined : { to: textOf(to), subject: textOf(subject) }
}

/** The value if it is text, otherwise an empty one. */
export function textOf(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

/** Answers 400. */
export function badRequest(res: Response, message: string): void {
  res.status(400).json({ error: 'bad_request', message })
}

/** Express' error handler: the status of the error, and no stack. */
export function onError(error: { status?: number; message: string }, _req: Request, res: Response, _next: NextFunction): void {
  const { status = 500 } = error
  res.status(status).json({ error: 'error', message: status < 500 ? error.message : 'Something went wrong' })
}

function bodyOf(req: Request): Record<string, unknown> {
  return typeof req.body === 'object' && req.body !== null ? (req.body as Record<string, unknown>) : {}
}
