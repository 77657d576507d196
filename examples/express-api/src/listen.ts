import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Express } from 'express'

/** Listens on `PORT` (3000) of this machine and prints a call to try; `:origin` in it stands for the address. */
export async function listen(app: Express, call: string): Promise<Server> {
  const server = app.listen(Number(process.env['PORT'] ?? 3000), '127.0.0.1')
  await new Promise((resolve, reject) => server.once('listening', resolve).once('error', reject))
  console.log(call.replace(':origin', `http://127.0.0.1:${(server.address() as AddressInfo).port}`))
  return server
}
