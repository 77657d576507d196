import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { startGateway, type World, type WorldAgent } from './gateway-world.js'
import { open, startRawUpstream, startUpstream, type Upstream } from './upstream.js'

const POLICIES = [
  {
    name: 'records',
    rules: [
      { effect: 'deny', actions: ['read:contacts/export'] },
      { effect: 'allow', actions: ['read:contacts', 'write:records'] },
    ],
  },
]

let upstream: Upstream
let world: World
let agent: WorldAgent

beforeAll(async () => {
  upstream = await startUpstream()
  world = await startGateway({ policies: POLICIES, proxy: { target: `${upstream.origin}/base/` } })
  agent = await world.createAgent({ id: 'agent-1' })
})
afterAll(async () => {
  await world.close()
  await upstream.close()
})
beforeEach(() => {
  upstream.received.length = 0
  upstream.answer(undefined)
})

describe('An upstream that fails', () => {
  const failing = async (target: string, status: number, timeoutMs = 30_000) => {
    const own = await startGateway({ policies: POLICIES, proxy: { target, timeoutMs } })
    try {
      const { token } = await own.createAgent()
      const headers = { authorization: `Bearer ${token}`, 'x-meshguard-trace-id': 'trace-12345678' }
      const answer = await own.fetch('/proxy/contacts', { headers })
      expect([answer.status, answer.headers.get('x-meshguard-origin'), answer.headers.get('cache-control')]).toEqual([
        status,
        'gateway',
        'no-store',
      ])
      const body = await answer.json()
      expect(body).toMatchObject({ error: status === 502 ? 'bad_gateway' : 'gateway_timeout', traceId: 'trace-12345678' })
      expect(JSON.stringify(body)).not.toMatch(/127\.0\.0\.1|ECONN/)
    } finally {
      await own.close()
    }
  }

  test('to be there is 502', async () => {
    const gone = await startUpstream()
    await gone.close()
    await failing(gone.origin, 502)
  })

  test.each([
    ['to say anything', (bytes: (text: string) => void) => bytes('')],
    ['to speak HTTP', (bytes: (text: string) => void) => bytes('SSH-2.0-x\r\n')],
    ['to send a whole head', (bytes: (text: string) => void) => bytes('HTTP/1.1 200 OK\r\nContent-Le')],
    [
      'to say one length',
      (bytes: (text: string) => void) => bytes('HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx'),
    ],
    [
      'to choose between length and chunks',
      (bytes: (text: string) => void) =>
        bytes('HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n'),
    ],
    ['to keep to a status', (bytes: (text: string) => void) => bytes('HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n')],
    [
      'to keep to HTTP, and switches',
      (bytes: (text: string) => void) => bytes('HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n'),
    ],
  ])('%s is 502', async (_, write) => {
    const raw = await startRawUpstream((socket) => write((text) => socket.end(text, 'latin1')))
    try {
      await failing(raw.origin, 502)
    } finally {
      await raw.close()
    }
  })

  test('to answer in time is 504', async () => {
    const silent = await startRawUpstream(() => {})
    try {
      await failing(silent.origin, 504, 200)
    } finally {
      await silent.close()
    }
  })
})

describe('The forms of HTTP', () => {
  const raw = async (lines: string[], body = '') => {
    const connection = open(world.port)
    connection.write(
      `${[lines[0], 'Host: a', `Authorization: Bearer ${agent.token}`, ...lines.slice(1), 'Connection: close', '', body].join('\r\n')}`,
    )
    const text = await connection.end()
    connection.socket.destroy()
    return text
  }

  test('HEAD is forwarded as HEAD, and keeps the length of what it leaves out', async () => {
    upstream.answer((_, outgoing) => outgoing.writeHead(200, { 'content-length': '12345', etag: '"x"' }).end())
    const text = await raw(['HEAD /proxy/contacts HTTP/1.1'])
    expect(upstream.received[0]?.method).toBe('HEAD')
    expect(text.toLowerCase()).toMatch(/^http\/1\.1 200 [\s\S]*content-length: 12345\r\n[\s\S]*\r\n\r\n$/)
  })

  test.each([204, 304])('%i has no body', async (status) => {
    upstream.answer((_, outgoing) => outgoing.writeHead(status, { etag: '"x"' }).end())
    const text = await raw(['GET /proxy/contacts HTTP/1.1'])
    expect(text.toLowerCase()).toMatch(new RegExp(`^http/1\\.1 ${status} [\\s\\S]*etag: "x"\\r\\n[\\s\\S]*\\r\\n\\r\\n$`))
    expect(text.toLowerCase()).not.toContain('transfer-encoding')
  })

  test('chunks are taken apart and put together, both ways, and trailers that pass come behind', async () => {
    upstream.answer((incoming, outgoing) => {
      const { headers } = incoming
      let text = ''
      incoming.on('data', (chunk) => {
        text += chunk
      })
      incoming.on('end', () => {
        outgoing.writeHead(200, { trailer: 'x-sum, x-meshguard-sum' })
        outgoing.write(`${headers['transfer-encoding']}:`)
        outgoing.addTrailers({ 'x-sum': '7', 'x-meshguard-sum': '8' })
        outgoing.end(text)
      })
    })
    const text = await raw(
      ['PUT /proxy/records/1 HTTP/1.1', 'Transfer-Encoding: chunked'],
      '3\r\nabc\r\n2\r\nde\r\n0\r\nX-Hop: 1\r\n\r\n',
    )
    expect(text).toMatch(/8\r\nchunked:\r\n5\r\nabcde\r\n0\r\nx-sum: 7\r\n\r\n$/)
  })

  describe('Informational answers', () => {
    const hinting = (...links: string[]) =>
      upstream.answer((_, outgoing) => {
        outgoing.writeProcessing()
        for (const link of links) outgoing.writeEarlyHints({ link, 'x-meshguard-decision': 'deny', 'set-cookie': 'a=b' })
        outgoing.end('final')
      })
    const FINAL = 'HTTP/1.1 200 OK\r\n'

    test('are passed on as they come, 103 with its links and nothing else, and are not taken for the answer', async () => {
      hinting('</style.css>; rel=preload; as=style', '</a.js>; rel="modulepreload"; crossorigin')
      const text = await raw(['GET /proxy/contacts HTTP/1.1'])
      expect(text.slice(0, text.indexOf(FINAL))).toBe(
        'HTTP/1.1 102 Processing\r\n\r\n' +
          'HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload; as=style\r\n\r\n' +
          'HTTP/1.1 103 Early Hints\r\nLink: </a.js>; rel="modulepreload"; crossorigin\r\n\r\n',
      )
      expect(text).toMatch(/\r\n\r\nfinal$/)
    })

    /** What a client reads when an upstream answers with these bytes. */
    const answeredBy = async (bytes: string) => {
      const own = await startRawUpstream((socket) => socket.end(bytes, 'latin1'))
      const gateway = await startGateway({ policies: POLICIES, proxy: { target: own.origin } })
      try {
        const connection = open(gateway.port)
        const { token } = await gateway.createAgent()
        connection.write(
          `GET /proxy/contacts HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${token}\r\nConnection: close\r\n\r\n`,
        )
        return await connection.end()
      } finally {
        await gateway.close()
        await own.close()
      }
    }
    const HINTS = 'HTTP/1.1 103 Early Hints\r\n'
    const OK = `${FINAL}Content-Length: 2\r\n\r\nok`

    test.each([
      ['</a>; rel=preload, </b>; rel=preload', '</a>; rel=preload, </b>; rel=preload'],
      ['a, </b>; rel=preload', '</b>; rel=preload'],
    ])('a 103 with %s is passed on with %s', async (link, expected) => {
      const text = await answeredBy(`${HINTS}Link: ${link}\r\n\r\n${OK}`)
      expect(text.slice(0, text.indexOf(FINAL))).toBe(`${HINTS}Link: ${expected}\r\n\r\n`)
      expect(text).toMatch(/\r\n\r\nok$/)
    })

    test.each(['preload this', '<a', '</a>; rel="x', '</\u00e9>', '</a> x'])(
      'a 103 without a link that is one is left out, and a 104: %s',
      async (link) => {
        const text = await answeredBy(`${HINTS}Link: ${link}\r\n\r\nHTTP/1.1 104 Later\r\n\r\n${OK}`)
        expect(text).toMatch(/^HTTP\/1\.1 200 OK\r\n[\s\S]*\r\n\r\nok$/)
      },
    )

    test('are kept from a client of HTTP/1.0, which does not know them', async () => {
      hinting('</style.css>; rel=preload')
      expect(await raw(['GET /proxy/contacts HTTP/1.0'])).toMatch(/^HTTP\/1\.1 200 [\s\S]*final$/)
    })
  })

  test('a client that waits for 100 Continue gets it once it is allowed, and not before', async () => {
    const connection = open(world.port)
    const head = (path: string) =>
      `PUT ${path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${agent.token}\r\nExpect: 100-continue\r\nContent-Length: 4\r\nConnection: close\r\n\r\n`
    connection.write(head('/proxy/records/1'))
    expect(await connection.until('\r\n\r\n')).toBe('HTTP/1.1 100 Continue\r\n\r\n')
    connection.write('body')
    expect(await connection.end()).toContain('"body":"body"')
    expect(upstream.received[0]?.headers['expect']).toBeUndefined()
    const denied = open(world.port)
    denied.write(head('/proxy/contacts/1'))
    expect(await denied.until('no_match')).toMatch(/^HTTP\/1\.1 403 /)
    denied.socket.destroy()
  })

  test('a client of HTTP/1.0 gets an answer without chunks', async () => {
    upstream.answer((_, outgoing) => {
      outgoing.write('in ')
      setImmediate(() => outgoing.end('parts'))
    })
    const text = await raw(['GET /proxy/contacts HTTP/1.0'])
    expect(text.toLowerCase()).not.toContain('transfer-encoding')
    expect(text).toMatch(/\r\n\r\nin parts$/)
  })

  test('requests on one connection are each decided on their own', async () => {
    const connection = open(world.port)
    const of = (path: string, token: string) =>
      `GET ${path} HTTP/1.1\r\nHost: a\r\n${token === '' ? '' : `Authorization: Bearer ${token}\r\n`}`
    connection.write(
      `${of('/proxy/contacts/1', agent.token)}\r\n${of('/proxy/contacts/export', agent.token)}\r\n${of('/proxy/contacts/2', '')}\r\n${of('/proxy/contacts/3', agent.token)}Connection: close\r\n\r\n`,
    )
    const text = await connection.end()
    expect([...text.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => status)).toEqual(['200', '403', '401', '200'])
    expect(upstream.received.map(({ url }) => url)).toEqual(['/base/contacts/1', '/base/contacts/3'])
  })
})
