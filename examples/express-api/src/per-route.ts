/** Only the routes that say so are guarded; the rest of the application stays as it was. */
import { createProtect, decisionOf } from '@meshguard/express'
import express from 'express'
import { createDemo } from './guard.js'
import { listen } from './listen.js'

const { guard, token } = await createDemo()
const protect = createProtect(guard)
const app = express()

app.get('/', (_req, res) => {
  res.send('Nobody asks who you are here.')
})
app.get('/reports', protect(), (req, res) => {
  res.json({ reports: [], allowedBy: decisionOf(req)?.policy })
})
app.delete('/reports/:id', protect('delete:reports'), (_req, res) => {
  res.status(204).end()
})
app.post('/reports/:id/share', protect('share:reports', { mode: 'audit' }), (req, res) => {
  res.json({ shared: true, wouldBe: decisionOf(req)?.decision })
})

export default await listen(app, `curl -H 'Authorization: Bearer ${token}' :origin/reports`)
export { token }
