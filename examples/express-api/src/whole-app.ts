/** Every route of an application is guarded: what is there, and what is to come. */
import { agentOf, createProtect } from '@meshguard/express'
import express, { Router } from 'express'
import { createDemo } from './guard.js'
import { listen } from './listen.js'

const { guard, token } = await createDemo()
const protect = createProtect(guard)
const app = protect(express())
const notes = new Map([['1', { id: '1', text: 'Water the plants' }]])

app.use(express.json())
app.get('/health', protect.open('liveness probe'), (_req, res) => {
  res.json({ status: 'ok' })
})

app.get('/notes/:id', (req, res) => {
  const note = notes.get(req.params.id)
  if (note === undefined) res.status(404).json({ error: 'not_found' })
  else res.json(note)
})
app.post('/notes', (req, res) => {
  const note = { id: String(notes.size + 1), text: String(req.body?.text ?? ''), by: agentOf(req)?.id }
  notes.set(note.id, note)
  res.status(201).json(note)
})
app.delete('/notes/:id', (req, res) => {
  res.json({ deleted: notes.delete(req.params.id) })
})

const admin = Router()
app.use('/admin', admin)
admin.get('/users', (_req, res) => {
  res.json({ users: [] })
})

protect.verify(app)
console.table(protect.routes(app))
export default await listen(app, `curl -H 'Authorization: Bearer ${token}' :origin/notes/1`)
export { token }
