/** The decisions that every evaluator must make, as `decisions.json` has them. */
import type { Agent, Answer, PolicyDocument } from '@meshguard/core'
import decisions from './decisions.json' with { type: 'json' }

/** What is asked, and what of the answer is sure. */
export interface Step {
  readonly agent: string
  readonly action: string
  readonly resource?: string
  readonly context?: Record<string, unknown>
  readonly request?: { method: string; route: string }
  readonly expect: Partial<Answer>
}

/** Agents and policies by name, and what is asked of them. */
export interface Vectors {
  readonly agents: Record<string, Agent>
  readonly policySets: Record<string, PolicyDocument[]>
  readonly cases: (Step & { readonly title: string; readonly policies: string })[]
  readonly sequences: { readonly title: string; readonly policies: string; readonly steps: (Step & { at: number })[] }[]
}

export const vectors = decisions as unknown as Vectors
