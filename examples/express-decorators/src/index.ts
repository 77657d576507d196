/** Checks as decorators: what a method does is said where it is written. Standard decorators; legacy ones work on methods. */
import type { AddressInfo } from 'node:net'
import { agentTokens, createGuard, fromPolicies, generateKeys, mintAgentToken } from '@meshguard/core'
import { createProtect } from '@meshguard/express'
import express, { type Request, type Response } from 'express'

const { privateKey, publicKey } = await generateKeys()
const guard = createGuard({
  source: fromPolicies([{ name: 'archivists', rules: [{ effect: 'allow', actions: ['read:archive', 'seal:archive'] }] }]),
  authenticate: agentTokens({ publicKey }),
})
const protect = createProtect(guard)

class Archive {
  readonly #boxes = new Map([['1', { sealed: false }]])

  @protect('read:archive')
  read(req: Request, res: Response): void {
    const box = this.#boxes.get(String(req.params['id']))
    if (box === undefined) res.status(404).json({ error: 'not_found' })
    else res.json(box)
  }

  @protect('seal:archive')
  seal(req: Request, res: Response): void {
    this.#boxes.set(String(req.params['id']), { sealed: true })
    res.json({ sealed: true })
  }

  @protect('burn:archive')
  burn = (_req: Request, res: Response): void => {
    this.#boxes.clear()
    res.status(204).end()
  }
}

const archive = protect.bind(new Archive())
const app = protect(express())
app.get('/archive/:id', archive.read)
app.post('/archive/:id/seal', archive.seal)
app.delete('/archive', archive.burn)

export const token = await mintAgentToken({ id: 'agent_archivist', key: privateKey })
export const server = app.listen(Number(process.env['PORT'] ?? 3000), '127.0.0.1', () => {
  const { port } = server.address() as AddressInfo
  console.log(`curl -X POST -H 'Authorization: Bearer ${token}' http://127.0.0.1:${port}/archive/1/seal`)
})
