import type { PolicyDocument } from '@meshguard/core'
import { numbers, type StoreCase } from './spec.js'

function policy(name: string, description = 'as it was'): PolicyDocument {
  return { name, description, rules: [{ effect: 'allow', actions: ['read:*'] }] } as unknown as PolicyDocument
}

export const policies: readonly StoreCase[] = [
  {
    title: 'answers a policy as it was put, with its revision and time',
    async run({ store }, assert) {
      const document = { ...policy('contacts'), note: 'ü "quoted" 🤖', 'a.b': [{ deep: [null, 1.5, false] }] } as PolicyDocument
      const stored = { name: 'contacts', document, revision: 1, updatedAt: 1_763_881_111_111 }
      assert.equal(await store.policies.put(document, 1_763_881_111_111), stored)
      assert.equal(await store.policies.get('contacts'), stored)
      assert.equal(await store.policies.get('Contacts'), undefined)
    },
  },
  {
    title: 'lists policies by name',
    async run({ store }, assert) {
      for (const name of ['b', 'a', 'B', 'c']) await store.policies.put(policy(name), 1)
      assert.equal(
        (await store.policies.list()).map(({ name }) => name),
        ['B', 'a', 'b', 'c'],
      )
    },
  },
  {
    title: 'raises the revision by one with every put',
    async run({ store }, assert) {
      for (const n of numbers(1, 3)) assert.equal((await store.policies.put(policy('a', `v${n}`), n))?.revision, n)
      assert.equal(
        (await store.policies.list()).map(({ document }) => document.description),
        ['v3'],
      )
    },
  },
  {
    title: 'makes a policy at revision 0 only where there is none',
    async run({ store }, assert) {
      assert.equal((await store.policies.put(policy('a'), 1, 0))?.revision, 1)
      assert.equal(await store.policies.put(policy('a', 'another'), 2, 0), undefined)
      assert.equal((await store.policies.get('a'))?.document, policy('a'))
    },
  },
  {
    title: 'refuses a lost update and changes nothing',
    async run({ store }, assert) {
      await store.policies.put(policy('a'), 1)
      await store.policies.put(policy('a', 'second'), 2, 1)
      for (const revision of [0, 1, 3, -1]) assert.equal(await store.policies.put(policy('a', 'lost'), 3, revision), undefined)
      assert.equal(await store.policies.put(policy('b', 'lost'), 3, 1), undefined)
      assert.equal(
        (await store.policies.list()).map(({ document }) => document.description),
        ['second'],
      )
    },
  },
  {
    title: 'lets exactly one of many updates of the same revision through',
    async run({ store }, assert) {
      await store.policies.put(policy('a'), 1)
      const all = await Promise.all(numbers(1, 12).map((n) => store.policies.put(policy('a', `v${n}`), n, 1)))
      const won = all.filter((one) => one !== undefined)
      assert.equal([won.length, won[0]?.revision], [1, 2])
      assert.equal(await store.policies.get('a'), won[0])
    },
  },
  {
    title: 'counts every one of many updates that do not care',
    async run({ store }, assert) {
      const all = await Promise.all(numbers(1, 12).map((n) => store.policies.put(policy('a'), n)))
      assert.equal(
        all.map((one) => one?.revision ?? 0).sort((a, b) => a - b),
        numbers(1, 12),
      )
    },
  },
  {
    title: 'deletes a policy, unless it is unknown or changed',
    async run({ store }, assert) {
      assert.equal(await store.policies.delete('a'), 'unknown')
      await store.policies.put(policy('a'), 1)
      assert.equal([await store.policies.delete('a', 2), await store.policies.delete('a', 0)], ['changed', 'changed'])
      assert.equal(await store.policies.delete('a', 1), 'deleted')
      assert.equal([await store.policies.delete('a', 1), await store.policies.delete('a')], ['unknown', 'unknown'])
      assert.equal([await store.policies.get('a'), await store.policies.list()], [null, []])
    },
  },
  {
    title: 'never gives a policy that was made again a revision that it had before',
    async run({ store }, assert) {
      await store.policies.put(policy('a', 'old'), 1)
      await store.policies.delete('a')
      const again = await store.policies.put(policy('a', 'new'), 2, 0)
      assert.ok((again?.revision ?? 0) > 1, 'the revision began again')
      assert.equal(await store.policies.put(policy('a', 'lost'), 3, 1), undefined)
      assert.equal((await store.policies.get('a'))?.document.description, 'new')
    },
  },
]
