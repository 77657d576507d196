/** What every store promises, written once as plain data, which any runtime can loop over in ten lines. */
import { agents } from './store/agents.js'
import { audit } from './store/audit.js'
import { auditQuery } from './store/audit-query.js'
import { credentials } from './store/credentials.js'
import { limiter } from './store/limiter.js'
import { policies } from './store/policies.js'
import type { StoreCase } from './store/spec.js'
import { whole } from './store/whole.js'

export { errorOf, type StoreCase, type StoreContext } from './store/spec.js'
export { everyMethod } from './store/whole.js'

/** The cases by theme. */
export const themes: Readonly<Record<string, readonly StoreCase[]>> = {
  agents,
  policies,
  'tokens, delegations and settings': credentials,
  'the audit log': audit,
  'questions to the audit log': auditQuery,
  'rate limits': limiter,
  'the store as a whole': whole,
}
