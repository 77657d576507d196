/** What the SDK promises, written once: cases as plain data, which any runtime can loop over in ten lines. */
import { checkCases } from './client/checks.js'
import { enforceCases } from './client/enforce.js'
import { followCases } from './client/follow.js'
import { operatorCases } from './client/operator.js'
import { proxyCases } from './client/proxy.js'
import type { Case } from './client/spec.js'
import { transportCases } from './client/transport.js'

export { runCase } from './client/run.js'
export type { Binding, Case, Received, Reply, Scripted } from './client/spec.js'

/** The cases by theme. */
export const themes: Readonly<Record<string, readonly Case[]>> = {
  'a check': checkCases,
  'enforce and govern': enforceCases,
  'the transport': transportCases,
  'a call through the proxy': proxyCases,
  'the administration': operatorCases,
  'following the audit log': followCases,
}
