import { z } from 'zod'
import * as agents from '../admin/agent-schemas.js'
import * as delegations from '../admin/delegation-schemas.js'
import { keyRotation, rotatedKeys } from '../admin/key-schemas.js'
import * as policies from '../admin/policy-schemas.js'
import { POLICY_TYPES } from '../admin/policy-text.js'
import * as tokens from '../admin/token-schemas.js'
import type { Operation } from './operation.js'

/** With whatever reads. */
const READING = [401, 403, 503] as const
/** With whatever reads a body. */
const WRITING = [400, 401, 403, 413, 415, 503] as const

const ifMatch = z.object({
  'If-Match': z.string().optional().meta({ description: 'The ETag that the policy must still have, or `*`.' }),
})
const ifMatchOrNone = ifMatch.extend({
  'If-None-Match': z.literal('*').optional().meta({ description: 'There must be no policy of this name yet.' }),
})

const ofAgents = { tag: 'Agents', caller: 'operator' } as const
const ofPolicies = { tag: 'Policies', caller: 'operator' } as const
const ofTokens = { tag: 'Tokens', caller: 'operator' } as const
const ofDelegations = { tag: 'Delegations', caller: 'operator' } as const
const etag = { ETag: 'The revision of the policy; a file has none.' }

/** Agents, policies, service tokens, delegations and keys. */
export const ADMIN_OPERATIONS: readonly Operation[] = [
  {
    ...ofAgents,
    method: 'get',
    path: '/admin/agents',
    id: 'listAgents',
    summary: 'The agents, oldest first',
    query: agents.agentQuery,
    answers: { 200: { description: 'A page of agents.', schema: agents.agentPage } },
    refusals: [400, ...READING],
  },
  {
    ...ofAgents,
    method: 'post',
    path: '/admin/agents',
    id: 'createAgent',
    summary: 'Register an agent and issue its first token',
    body: { schema: agents.newAgent },
    answers: { 201: { description: 'The agent, with its token.', schema: agents.createdAgent } },
    refusals: WRITING,
  },
  {
    ...ofAgents,
    method: 'get',
    path: '/admin/agents/{id}',
    id: 'getAgent',
    summary: 'One agent',
    answers: { 200: { description: 'The agent.', schema: agents.agent } },
    refusals: [...READING, 404],
  },
  {
    ...ofAgents,
    method: 'patch',
    path: '/admin/agents/{id}',
    id: 'updateAgent',
    summary: 'Change an agent',
    description: 'The next request with any of its tokens is decided by it. Recorded with before and after.',
    body: { schema: agents.agentChange },
    answers: { 200: { description: 'The agent after the change.', schema: agents.agent } },
    refusals: [...WRITING, 404, 409],
  },
  {
    ...ofAgents,
    method: 'delete',
    path: '/admin/agents/{id}',
    id: 'revokeAgent',
    summary: 'Revoke an agent for good',
    description: 'Its next request is answered 401.',
    answers: { 200: { description: 'The agent, revoked.', schema: agents.agent } },
    refusals: [...READING, 404, 409],
  },
  {
    ...ofAgents,
    method: 'post',
    path: '/admin/agents/{id}/token',
    id: 'issueToken',
    summary: 'Issue another token of an agent',
    body: { schema: agents.tokenRequest, optional: true },
    answers: { 200: { description: 'The token.', schema: agents.issuedToken } },
    refusals: [...WRITING, 404, 409],
  },
  {
    ...ofPolicies,
    method: 'get',
    path: '/admin/policies',
    id: 'listPolicies',
    summary: 'Every policy, those of files included',
    answers: { 200: { description: 'The policies.', schema: policies.policyList } },
    refusals: READING,
  },
  {
    ...ofPolicies,
    method: 'get',
    path: '/admin/policies/{name}',
    id: 'getPolicy',
    summary: 'One policy',
    answers: { 200: { description: 'The policy.', schema: policies.listedPolicy, headers: etag } },
    refusals: [...READING, 404],
  },
  {
    ...ofPolicies,
    method: 'put',
    path: '/admin/policies/{name}',
    id: 'putPolicy',
    summary: 'Put a policy in force',
    headers: ifMatchOrNone,
    body: { schema: policies.policyDocument, types: POLICY_TYPES },
    answers: {
      200: { description: 'The policy, changed.', schema: policies.listedPolicy, headers: etag },
      201: { description: 'The policy, new.', schema: policies.listedPolicy, headers: etag },
    },
    refusals: [...WRITING, 409, 412],
  },
  {
    ...ofPolicies,
    method: 'delete',
    path: '/admin/policies/{name}',
    id: 'deletePolicy',
    summary: 'Take a policy out of force',
    headers: ifMatch,
    answers: { 204: { description: 'It is gone.' } },
    refusals: [400, ...READING, 404, 409, 412],
  },
  {
    ...ofPolicies,
    method: 'post',
    path: '/admin/policies/validate',
    id: 'validatePolicy',
    summary: 'Say what is wrong with a policy, and change nothing',
    body: { schema: policies.policyDocument, types: POLICY_TYPES },
    answers: { 200: { description: 'What is wrong, or that nothing is.', schema: policies.policyValidation } },
    refusals: WRITING,
  },
  {
    ...ofPolicies,
    method: 'post',
    path: '/admin/policies/test',
    id: 'testPolicy',
    summary: 'Say what the policies would answer, and why',
    description: 'Nothing is counted and nothing recorded.',
    body: { schema: policies.policyTest },
    answers: { 200: { description: 'The decision, with every step to it.', schema: policies.explanation } },
    refusals: [...WRITING, 404, 409],
  },
  {
    ...ofTokens,
    method: 'get',
    path: '/admin/tokens',
    id: 'listTokens',
    summary: 'The service tokens, without the tokens themselves',
    answers: { 200: { description: 'The tokens.', schema: tokens.serviceTokenList } },
    refusals: READING,
  },
  {
    ...ofTokens,
    method: 'post',
    path: '/admin/tokens',
    id: 'createToken',
    summary: 'Make a service token',
    body: { schema: tokens.newServiceToken },
    answers: { 201: { description: 'The token.', schema: tokens.createdServiceToken } },
    refusals: WRITING,
  },
  {
    ...ofTokens,
    method: 'delete',
    path: '/admin/tokens/{id}',
    id: 'deleteToken',
    summary: 'Delete a service token',
    answers: { 204: { description: 'It is gone, and stops working at once.' } },
    refusals: [...READING, 404],
  },
  {
    ...ofDelegations,
    method: 'get',
    path: '/admin/delegations',
    id: 'listDelegations',
    summary: 'Every delegation',
    answers: { 200: { description: 'The delegations.', schema: delegations.delegationList } },
    refusals: READING,
  },
  {
    ...ofDelegations,
    method: 'post',
    path: '/admin/delegations',
    id: 'createDelegation',
    summary: 'Let one agent act for another',
    body: { schema: delegations.newDelegation },
    answers: { 201: { description: 'The delegation, with its token.', schema: delegations.createdDelegation } },
    refusals: [...WRITING, 404, 409],
  },
  {
    ...ofDelegations,
    method: 'delete',
    path: '/admin/delegations/{id}',
    id: 'revokeDelegation',
    summary: 'End a delegation, and every one that extends it',
    answers: { 200: { description: 'The delegation, revoked.', schema: delegations.delegation } },
    refusals: [...READING, 404, 409],
  },
  {
    tag: 'Keys',
    caller: 'operator',
    method: 'post',
    path: '/admin/keys/rotate',
    id: 'rotateKeys',
    summary: 'Sign tokens, or bundles, with a new key',
    description: 'What the old key signed goes on working until it expires.',
    body: { schema: keyRotation, optional: true },
    answers: { 200: { description: 'The keys that verify tokens and bundles now.', schema: rotatedKeys } },
    refusals: [...WRITING, 409],
  },
]
