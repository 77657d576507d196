import { agentTokens, auditToGateway, mintAgentToken } from '@meshguard/core'
import { auditToFile } from '@meshguard/core/node'
import { createTestGuard } from '@meshguard/core/testing'
import { createProtect } from '@meshguard/hono'
import { expect, it } from 'vitest'

const guard = createTestGuard({ allow: ['read:*'] })
const given = (value: unknown) => value as never

it.each<[string, () => unknown, RegExp]>([
  [
    'a token where check has its options',
    () => guard.check('read:x', given('token')),
    /options after the action, like \{ token \}/,
  ],
  ['a token where explain has its options', () => guard.explain('read:x', given('token')), /options after the action/],
  ['options where govern has its function', () => guard.govern('read:x', given({})), /guard\.govern: expected a function/],
  ['no list for checkMany', () => guard.checkMany(given('read:x')), /guard\.checkMany: expected a list of \{ action/],
  ['agentTokens without options', () => agentTokens(given(undefined)), /agentTokens: expected an object of options/],
  ['mintAgentToken without options', () => mintAgentToken(given(undefined)), /mintAgentToken: expected an object of options/],
  ['auditToFile without a path', () => auditToFile(given(undefined)), /auditToFile: expected the path of a file/],
  ['auditToGateway without options', () => auditToGateway(given(undefined)), /auditToGateway: expected an object of options/],
  ['routes of what is no Hono app', () => createProtect(guard).routes(given({})), /protect\.routes and .* expected a Hono app/],
])('%s: a TypeError says what is expected', async (_, call, message) => {
  const error = await new Promise((resolve) => resolve(call())).catch((thrown: unknown) => thrown)
  expect(error).toBeInstanceOf(TypeError)
  expect((error as Error).message).toMatch(message)
})
