import type { PolicyDocument } from '@meshguard/core'

const policies: PolicyDocument[] = [
  { name: 'readers', rules: [{ effect: 'allow', actions: ['read:shipments'] }] },
  {
    name: 'dispatchers',
    appliesTo: { tags: ['dispatch'] },
    rules: [{ effect: 'allow', actions: ['hold:shipments'], rateLimit: { requests: 2, per: '1m' } }],
  },
]

export default policies
