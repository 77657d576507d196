import { joinPatterns, joinSpelled } from './pattern.js'
import type { RouterShape } from './shapes.js'

/** How a router is reached: the mounts above it, from the root down. */
export interface Chain {
  /** `undefined` where it is not known, or cannot be read: nothing is derived there. */
  readonly pattern: string | undefined
  readonly spelled: string
  /** The routers above, so that one which is mounted inside itself is noticed. */
  readonly through: readonly RouterShape[]
}

/** The chain of what is mounted nowhere. */
export const ROOT: Chain = Object.freeze({ pattern: '', spelled: '', through: [] })

/** The chain of what was reached in a way that was not seen. */
export const UNKNOWN: Chain = Object.freeze({ pattern: undefined, spelled: '(unknown mount)', through: [] })

/** A router or app that was given to `use` of another. */
export class Mount {
  readonly #chains = new Map<Chain, Chain>()

  constructor(
    readonly parent: RouterShape,
    readonly child: RouterShape,
    readonly path: unknown,
  ) {}

  /** The chain of the child where its parent is reached by `chain`; {@link UNKNOWN} for a router inside itself. */
  under(chain: Chain): Chain {
    const known = this.#chains.get(chain)
    if (known !== undefined) return known
    const made = this.#make(chain)
    this.#chains.set(chain, made)
    return made
  }

  #make(chain: Chain): Chain {
    const through = [...chain.through, this.parent]
    if (chain === UNKNOWN || through.includes(this.child)) return UNKNOWN
    return {
      pattern: joinPatterns(chain.pattern, this.path),
      spelled: joinSpelled(chain.spelled, this.path),
      through,
    }
  }
}

/** A router that a request has entered. */
export interface Place {
  readonly router: RouterShape
  readonly chain: Chain
  /** `req.baseUrl` inside the router. */
  readonly baseUrl: string
  /** The parameters of the mounts above, which Express hides from a router without `mergeParams`. */
  readonly params: Readonly<Record<string, string | string[]>> | undefined
}
