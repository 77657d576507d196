/** A guardian of the guards' benchmark. Tells its parent where it listens and, when asked, the CPU time it has used. */
import { fromBundle } from '@meshguard/core'
import { createGuardian } from '@meshguard/gateway/guardian'

const [url, token] = process.argv.slice(2)
const jwks = `${url}/.well-known/jwks.json`
const source = fromBundle({ url, token, jwks, onReload: () => {} })
await source.refresh()
const guardian = createGuardian({ source })
const listening = await guardian.listen(0, '127.0.0.1')

process.on('message', () => {
  const { user, system } = process.cpuUsage()
  process.send({ cpuMs: (user + system) / 1000 })
})
process.on('disconnect', () => guardian.close())
process.send({ url: listening.url })
