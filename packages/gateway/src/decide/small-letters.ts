import { createPolicies, type Policies, type PolicyDocument, type Test } from '@meshguard/core'
import { documentOf } from '@meshguard/core/policy'

/** Knows the set that is in force. */
interface InForce {
  current(): Policies
}

/**
 * The policies in force as they read to a server to which capitals and small letters of a path are the same: every pattern of
 * actions, and what conditions compare resources with, in small letters. It is to be asked with a request in small letters.
 *
 * @returns the set in force itself where it has no capitals; made once for each set.
 */
export function policiesInSmallLetters(inForce: InForce): InForce {
  let known: { readonly given: Policies; readonly made: Policies } | undefined
  return {
    current() {
      const given = inForce.current()
      if (known?.given !== given) known = { given, made: madeOf(given) }
      return known.made
    },
  }
}

/** ASCII alone: an action has nothing else. */
export function smallLetters(text: string): string {
  return text.replace(/[A-Z]+/g, (capitals) => capitals.toLowerCase())
}

function madeOf(given: Policies): Policies {
  const documents = given.policies.map(documentOf)
  const made = documents.map((document) => ({ ...document, rules: document.rules.map(smallRule) }))
  return JSON.stringify(made) === JSON.stringify(documents) ? given : createPolicies(made)
}

function smallRule(rule: PolicyDocument['rules'][number]): PolicyDocument['rules'][number] {
  const actions = rule.actions.map(smallLetters)
  if (rule.conditions?.resource === undefined) return { ...rule, actions }
  return { ...rule, actions, conditions: { ...rule.conditions, resource: smallTest(rule.conditions.resource) } }
}

function smallTest(test: Test): Test {
  return JSON.parse(JSON.stringify(test), (_key, value) => (typeof value === 'string' ? smallLetters(value) : value))
}
