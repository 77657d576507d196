import Database from 'libsql'

/**
 * Claims a database for this gateway alone, as long as it is open: two would write one chain of audit entries, and each would go on
 * letting in whom the other has revoked. The claim is an exclusive transaction on a file beside it, which the system ends with the
 * process, however that ends.
 *
 * @param path Of the file beside the database, which is there already.
 * @returns how to give the claim up.
 * @throws Error when another gateway holds it.
 */
export function claimDatabase(path: string): () => void {
  const claim = new Database(path, {})
  try {
    claim.exec('pragma busy_timeout = 0; pragma journal_mode = memory; begin exclusive')
  } catch (error) {
    claim.close()
    if (!String((error as { code?: unknown }).code).startsWith('SQLITE_BUSY')) throw error
    throw new Error('Another gateway has the database open. Stop it first, or choose another DATA_DIR or DATABASE_URL', {
      cause: error,
    })
  }
  return () => claim.close()
}
