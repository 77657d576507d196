import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { generateKeys } from '@meshguard/core'
import { signBundle } from '@meshguard/core/bundle'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { build } from '../e2e/build.js'
import { startGateway, type World } from '../gateway/gateway-world.js'
import { openFolder, runCommand } from './command.js'

let world: World
let folder: string
let close: () => Promise<void>
let service: string

beforeAll(async () => {
  await build()
  world = await startGateway()
  const opened = await openFolder()
  folder = opened.folder
  close = opened.close
  service = await world.createService('bundle')
  await writeFile(join(folder, 'service.token'), `${service}\n`)
  await writeFile(join(folder, 'keys.json'), JSON.stringify(world.services.keys.published()))
}, 180_000)
afterAll(async () => {
  await world.close()
  await close()
})

const env = () => ({ MESHGUARD_GATEWAY_URL: world.url, MESHGUARD_SERVICE_TOKEN: '' })
const bundle = (args: string[], more: NodeJS.ProcessEnv = {}) => runCommand(['bundle', ...args], folder, { ...env(), ...more })
const pull = (output: string, more: NodeJS.ProcessEnv = {}) =>
  bundle(['pull', '--token-file', 'service.token', '--output', output], more)

describe('bundle pull', () => {
  it('writes a verified bundle to a file of mode 0600, by the token of a file or of the environment', async () => {
    const { id } = await world.createAgent()
    await world.admin('DELETE', `/admin/agents/${id}`)
    const pulled = await pull('a.jws')
    expect([pulled.code, pulled.stderr]).toEqual([0, ''])
    expect(pulled.stdout).toMatch(/^Wrote a\.jws\nversion +\d+\n[\s\S]*policies +1\nrules +2\nagents +1\nrevoked +1\n/)
    const args = ['pull', '--output', 'b.jws', '--public-key', 'keys.json', '--json']
    const { code, stdout } = await bundle(args, { MESHGUARD_SERVICE_TOKEN: service })
    expect([code, JSON.parse(stdout)]).toEqual([0, expect.objectContaining({ output: 'b.jws', policies: 1, revoked: 1 })])
    expect(await readFile(join(folder, 'b.jws'), 'utf8')).toBe(await readFile(join(folder, 'a.jws'), 'utf8'))
    expect((await stat(join(folder, 'a.jws'))).mode & 0o777).toBe(0o600)
  })

  it('writes nothing, and ends with 1, for a bundle that another key has signed', async () => {
    const { publicKey } = await generateKeys()
    await writeFile(join(folder, 'other.json'), JSON.stringify(publicKey))
    const { code, stdout } = await bundle([
      'pull',
      '--token-file',
      'service.token',
      '--output',
      'no.jws',
      '--public-key',
      'other.json',
    ])
    expect([code, stdout]).toEqual([1, expect.stringContaining('The bundle is not good')])
    expect(await readdir(folder)).not.toContain('no.jws')
  })

  it('leaves nothing behind on a disk that is full, and says so', async () => {
    expect(await pull('/dev/full')).toMatchObject({
      code: 2,
      stdout: '',
      stderr: expect.stringMatching(/^\/dev\/full cannot be written: the disk is full \(ENOSPC\)\. .*\n$/),
    })
  })

  it('reads no more than a bundle may have, however well it is compressed, and tells an answer that breaks off', async () => {
    const zeros = gzipSync(Buffer.alloc(40 * 1024 * 1024))
    const server = createServer(({ url }, response) => {
      response.writeHead(200, url?.startsWith('/broken') ? { 'content-length': 10 } : { 'content-encoding': 'gzip' })
      if (url?.startsWith('/broken')) response.write('x', () => response.destroy())
      else response.end(zeros)
    }).listen(0, '127.0.0.1')
    onTestFinished(() => void server.close())
    await once(server, 'listening')
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const bomb = await pull('bomb.jws', { MESHGUARD_GATEWAY_URL: url })
    expect([bomb.code, bomb.stderr]).toEqual([
      2,
      expect.stringMatching(/\/v1\/bundle answers more than \d+ bytes: is it a gateway\?\n$/),
    ])
    const broken = await pull('broken.jws', { MESHGUARD_GATEWAY_URL: `${url}/broken` })
    expect([broken.code, broken.stderr]).toEqual([3, expect.stringMatching(/^Gateway at http.* does not answer/)])
    expect((await readdir(folder)).filter((name) => /bomb|broken/.test(name))).toEqual([])
  })

  it('says what is missing: a token, its scope, a gateway, a folder', async () => {
    const said = async (expected: [number, RegExp], args: string[], more: NodeJS.ProcessEnv = {}) => {
      const { code, stdout, stderr } = await bundle(args, more)
      expect([args.join(' '), code, stdout]).toEqual([args.join(' '), expected[0], ''])
      expect(stderr).toMatch(expected[1])
      expect(stderr).not.toContain(service)
    }
    const output = ['--output', 'x.jws']
    const weak = await world.createService('decide')
    const gone = { MESHGUARD_SERVICE_TOKEN: service, MESHGUARD_GATEWAY_URL: 'http://127.0.0.1:9' }
    await Promise.all([
      said([2, /--output/], ['pull']),
      said([2, /^There is no service token\. .*--scopes bundle/], ['pull', ...output]),
      said([2, /^none: no such file/], ['pull', ...output, '--token-file', 'none']),
      said([2, /^keys\.json holds no service token/], ['pull', ...output, '--token-file', 'keys.json']),
      said([2, /does not take this service token/], ['pull', ...output], { MESHGUARD_SERVICE_TOKEN: 'msvc_wrong' }),
      said([2, /lacks the scope "bundle"/], ['pull', ...output], { MESHGUARD_SERVICE_TOKEN: weak }),
      said([3, /^Gateway at http:\/\/127\.0\.0\.1:9 does not answer/], ['pull', ...output], gone),
      said([2, /must be the URL of a gateway/], ['pull', ...output], { ...gone, MESHGUARD_GATEWAY_URL: 'ftp://x' }),
      said([2, /its folder does not exist/], ['pull', '--output', 'none/x.jws', '--token-file', 'service.token']),
      said(
        [2, /^service\.token holds no public key/],
        ['pull', ...output, '--token-file', 'service.token', '--public-key', 'service.token'],
      ),
    ])
    expect(await readdir(folder)).not.toContain('x.jws')
  })
})

describe('bundle verify and show', () => {
  it('say that a bundle is good, by the keys of the gateway or of a file alone, and what it says', async () => {
    await pull('good.jws')
    expect(await bundle(['verify', 'good.jws'])).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^The bundle is good\nversion/),
    })
    const offline = { MESHGUARD_GATEWAY_URL: 'http://127.0.0.1:9' }
    const json = JSON.parse((await bundle(['verify', 'good.jws', '--public-key', 'keys.json', '--json'], offline)).stdout)
    expect(json).toMatchObject({ valid: true, version: expect.any(Number), kid: world.services.keys.bundleKid() })
    expect((await bundle(['verify', 'good.jws', '--max-staleness', '1h', '--min-version', '1'])).code).toBe(0)
    const shown = await bundle(['show', 'good.jws', '--public-key', 'keys.json'], offline)
    expect(shown.stdout).toMatch(/POLICY +VERSION +RULES\ntest +- +2\n\nAGENT +STATUS/)
    const whole = JSON.parse((await bundle(['show', 'good.jws', '--public-key', 'keys.json', '--json'], offline)).stdout)
    expect(whole).toMatchObject({ version: json.version, policies: [{ name: 'test' }], delegations: [] })
    expect(await bundle(['verify', 'good.jws'], offline)).toMatchObject({
      code: 3,
      stderr: expect.stringMatching(/^The key set at http.* could not be fetched.*\. Or give --public-key\n$/),
    })
  })

  it('end with 1 and the reason for a bundle that is forged, cut off, expired or too old, and 2 for no file', async () => {
    await pull('good.jws')
    const jws = await readFile(join(folder, 'good.jws'), 'utf8')
    const { publicKey, privateKey } = await generateKeys()
    await writeFile(join(folder, 'own.json'), JSON.stringify(publicKey))
    const at = (ms: number) => new Date(Date.now() + ms).toISOString()
    const content = { version: 7, policies: [], agents: {}, delegations: [], jwks: { keys: [] } }
    const expired = await signBundle({ ...content, issuedAt: at(-90_000_000), expiresAt: at(-3_600_000) }, { key: privateKey })
    const old = await signBundle({ ...content, issuedAt: at(-7_200_000), expiresAt: at(3_600_000) }, { key: privateKey })
    const [head, payload, signature] = jws.split('.') as [string, string, string]
    const bad: [string, string[]][] = [
      [`${head}.${payload.slice(0, -4)}.${signature}`, []],
      [jws.slice(0, -10), []],
      ['not a bundle', []],
      ['', []],
      [old, []],
      [expired, ['--public-key', 'own.json']],
      [old, ['--public-key', 'own.json', '--max-staleness', '1h']],
      [old, ['--public-key', 'own.json', '--min-version', '8']],
    ]
    const ended = await Promise.all(
      bad.map(async ([text, options], i) => {
        await writeFile(join(folder, `bad-${i}.jws`), text)
        return bundle(['verify', `bad-${i}.jws`, ...options, '--json'])
      }),
    )
    for (const [i, { code, stdout, stderr }] of ended.entries()) {
      expect([bad[i], code, stderr]).toEqual([bad[i], 1, ''])
      expect(JSON.parse(stdout)).toMatchObject({ valid: false, reason: expect.any(String) })
    }
    expect((await bundle(['show', 'bad-0.jws'])).code).toBe(1)
    await writeFile(join(folder, 'bad.jws'), old)
    expect((await bundle(['verify', 'bad.jws', '--public-key', 'own.json'])).code).toBe(0)
    expect(await bundle(['verify', 'none.jws'])).toMatchObject({ code: 2, stderr: 'none.jws: no such file\n' })
    expect(await bundle(['verify', 'good.jws', '--max-staleness', 'long'])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('30s, 5m, 6h'),
    })
  })

  it('name the file of a key that is of no use', async () => {
    await pull('good.jws')
    const { privateKey } = await generateKeys()
    const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey.export({ type: 'spki', format: 'pem' })
    const bad: [string, string, RegExp][] = [
      ['private.json', JSON.stringify(privateKey), /^private\.json holds a private key\./],
      ['rsa.pem', String(rsa), /^rsa\.pem must be an Ed25519/],
      ['bad.pem', '-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n', /^bad\.pem must be an Ed25519/],
      ['empty.json', '{"keys":[]}', /^empty\.json has no Ed25519 key for bundles\./],
    ]
    for (const [name, text] of bad) await writeFile(join(folder, name), text)
    const ended = await Promise.all(bad.map(([name]) => bundle(['verify', 'good.jws', '--public-key', name])))
    for (const [i, { code, stdout, stderr }] of ended.entries()) {
      expect([code, stdout, stderr]).toEqual([2, '', expect.stringMatching(bad[i]?.[2] as RegExp)])
      expect(stderr).toMatch(/Give --public-key the key that signs bundles\n$/)
    }
  })
})
