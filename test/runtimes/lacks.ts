/** What cannot be done in a runtime, and why: features of the contracts, and titles of single cases. Everything else must pass. */
export const lacks = {
  workerd: {
    socket: 'no raw bytes can be sent to a Worker: what arrives is a Request',
    'any-method': 'a Request refuses some methods, and writes others in capitals',
  },
  bun: {
    'requests on one connection, sent at once, are each answered for themselves':
      'Bun closes a connection on which requests were sent at once, unless each is answered within its turn',
  },
  deno: {},
} satisfies Readonly<Record<string, Readonly<Record<string, string>>>>
