import express, { type Express, type Request, type Response, Router } from 'express'
import type { Contact, ContactBook } from './contacts.js'
import { badRequest, isComplete, onError, readDetails, readEmail, textOf } from './input.js'

/**
 * Adds the routes of the contact book to an app.
 *
 * @param senderOf Who sends: told by the guard, or by the gateway that forwards.
 */
export function addRoutes(app: Express, book: ContactBook, senderOf: (req: Request) => string | undefined): Express {
  const json = express.json({ limit: '64kb' }) // in the routes: a body is parsed for those who may send one
  app.get('/contacts', (req, res) => {
    res.json({ contacts: book.list(textOf(req.query['search'])) })
  })
  app.post('/contacts', json, (req, res) => {
    const details = readDetails(req)
    if (isComplete(details)) res.status(201).json(book.add(details))
    else badRequest(res, 'A contact needs "name", "email" and "company"')
  })

  const one = '/contacts/:id'
  const withContact = (handle: (contact: Contact, req: Request, res: Response) => void) => (req: Request, res: Response) => {
    const contact = book.get(String(req.params['id']))
    if (contact === undefined) res.status(404).json({ error: 'not_found', message: 'No such contact' })
    else handle(contact, req, res)
  }
  app.get(
    one,
    withContact((contact, _req, res) => res.json(contact)),
  )
  app.patch(
    one,
    json,
    withContact((contact, req, res) => res.json(Object.assign(contact, readDetails(req)))),
  )
  app.delete(
    one,
    withContact((contact, _req, res) => {
      book.remove(contact)
      res.status(204).end()
    }),
  )
  app.get(
    `${one}/emails`,
    withContact((contact, _req, res) => res.json({ emails: book.emailsTo(contact) })),
  )

  app.post('/emails', json, (req, res) => {
    const email = readEmail(req)
    if (email === undefined) badRequest(res, 'An email needs "to" and "subject"')
    else res.status(202).json({ ...book.send(email.to, email.subject), sentBy: senderOf(req) })
  })

  const admin = Router()
  admin.get('/users', (_req, res) => {
    res.json({ users: [{ name: 'Grace', role: 'owner' }] })
  })
  app.use('/admin', admin)
  app.use(onError)
  return app
}
