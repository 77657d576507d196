import { createHash, timingSafeEqual } from 'node:crypto'

/** Secrets are kept and compared as their SHA-256: in lower-case hex. */
export function digestOf(secret: string): string {
  return createHash('sha256').update(secret).digest('hex')
}

/** Whether two digests are equal, in a time that does not tell where they differ. */
export function equalDigests(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)]
  return left.length === right.length && timingSafeEqual(left, right)
}
