import { badRequest, preconditionFailed } from '../http/errors.js'
import type { ListedPolicy } from '../services.js'

/** The ETag of a policy of the API; a file has none. */
export function etagOf({ revision }: ListedPolicy): Record<string, string> {
  return revision === undefined ? {} : { etag: `"${revision}"` }
}

/**
 * The revision that a policy must stand at for a change, by `If-Match` and `If-None-Match` (RFC 9110, 13.1): 0 if it must not be
 * there, `undefined` if it may stand wherever it does. A weak tag matches nothing.
 *
 * @param current The policy as it stands.
 * @throws RequestError 412 when it stands elsewhere; 400 for headers that are not understood.
 */
export function revisionFor(headers: Headers, name: string, current: ListedPolicy | undefined): number | undefined {
  const ifMatch = headers.get('if-match')
  const ifNoneMatch = headers.get('if-none-match')
  if (ifNoneMatch !== null) {
    if (ifNoneMatch !== '*' || ifMatch !== null) throw badRequest('If-None-Match can only be *, and not beside If-Match')
    if (current !== undefined) throw preconditionFailed(`There is a policy "${name}" already`)
    return 0
  }
  if (ifMatch === null) return undefined
  const tags = ifMatch.split(',').map((tag) => tag.trim())
  if (!tags.every((tag) => tag === '*' || TAG.test(tag))) {
    throw badRequest(`If-Match must be *, or the ETag of the policy in quotes`, [
      { path: 'If-Match', message: 'expected "3" or *' },
    ])
  }
  const revision = current?.revision
  if (current === undefined || !(tags.includes('*') || tags.includes(`"${revision}"`))) {
    throw preconditionFailed(`The policy "${name}" was changed meanwhile: read it again`)
  }
  return revision
}

const TAG = /^(?:W\/)?"[\x21\x23-\x7e]*"$/
