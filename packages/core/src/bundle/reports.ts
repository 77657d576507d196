import { printable } from '../audit-line.js'
import { type MeshGuardError, messageOf } from '../errors.js'

/** Kinds of trouble that are remembered as told. */
const MAX_REPORTED = 32

/** Says once what is wrong, until all is well again. */
export class Reports {
  readonly #told = new Set<string>()
  readonly #onError: (error: MeshGuardError) => void

  constructor(onError: (error: MeshGuardError) => void) {
    this.#onError = onError
  }

  add(error: MeshGuardError): void {
    if (this.#told.has(error.message)) return
    if (this.#told.size >= MAX_REPORTED) this.#told.clear()
    this.#told.add(error.message)
    tell(() => this.#onError(error))
  }

  /** All is well. */
  clear(): void {
    this.#told.clear()
  }
}

/** What a callback throws is its own affair. */
export function tell(callback: () => void): void {
  try {
    callback()
  } catch (error) {
    console.error(`MeshGuard: a callback of fromBundle threw: ${printable(messageOf(error, 'it failed'))}`)
  }
}
