/** The sidecar of docs/guardian.md: its command is run as it stands there, with other folders, and its probe is asked. */
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, it, onTestFinished } from 'vitest'
import { parse } from 'yaml'
import { build, ROOT } from '../e2e/build.js'
import { startNode, stop } from '../e2e/process.js'
import { serve } from '../e2e/serve.js'
import { openFolder } from './command.js'

interface Container {
  readonly command: readonly string[]
  readonly args: readonly string[]
  readonly readinessProbe: { readonly exec: { readonly command: readonly [string, string, string] } }
  readonly volumeMounts: readonly { readonly mountPath: string; readonly readOnly?: boolean }[]
}

const PAGE = readFileSync(join(ROOT, 'docs/guardian.md'), 'utf8')
const [, yaml = ''] = /```yaml\n([\s\S]*?)```/.exec(PAGE) ?? []
const [container] = parse(yaml) as [Container]

it('The sidecar starts with the command of the image, writes where it may, and is ready by its probe', async () => {
  await build()
  const { folder, close } = await openFolder()
  const gateway = await serve(join(folder, 'gateway'))
  onTestFinished(async () => {
    await stop(gateway.running)
    await close()
  })
  const { token } = await gateway.admin<{ token: string }>('/tokens', { name: 'guard', scopes: ['bundle', 'audit:write'] })
  await mkdir(join(folder, 'secrets'))
  await writeFile(join(folder, 'secrets/service-token'), token)

  const [node, script = '', ...rest] = container.command
  expect([node, rest]).toEqual(['node', ['guardian']])
  expect(readFileSync(join(ROOT, 'examples/deploy/Dockerfile'), 'utf8')).toContain(`CMD ["node", "${script}", "serve"]`)
  const args = container.args.map((one) => one.replace(/^\/(?=secrets\/|cache\/)/, `${folder}/`))
  expect(args).toContain('http://gateway:3100')
  const here = args.map((one) => one.replace('http://gateway:3100', gateway.url))
  // The image's own variables, which are the gateway's, and a folder that it may not write to.
  const env = { HOST: '0.0.0.0', PORT: '3100', DATA_DIR: '/none', MESHGUARD_SERVICE_TOKEN: '' }
  const guardian = startNode([join(ROOT, script), ...rest, ...here, '--port', '0'], env, '/')
  onTestFinished(() => stop(guardian))
  const [, port = ''] = await guardian.printed(/listens on http:\/\/127\.0\.0\.1:(\d+)/)

  const [program, flag, code] = container.readinessProbe.exec.command
  expect(code).toContain('http://127.0.0.1:4000/health')
  const help = await promisify(execFile)(process.execPath, [join(ROOT, script), 'guardian', '--help'])
  expect(help.stdout).toMatch(/--port <port>[\s\S]*\(default: 4000\)/)
  const probe = (at: string) => promisify(execFile)(program, [flag, code.replace(':4000/', `:${at}/`)])
  await expect
    .poll(
      () =>
        probe(port).then(
          () => 'ready',
          () => 'not ready',
        ),
      { timeout: 10_000 },
    )
    .toBe('ready')
  await expect(probe('9')).rejects.toMatchObject({ code: 1 })

  expect((await readdir(join(folder, 'cache'))).sort()).toEqual(['audit', 'bundle.jws', 'bundle.jws.keys'])
  const mounts = container.volumeMounts.map(({ mountPath, readOnly }) => [mountPath, readOnly === true])
  expect(mounts).toEqual([
    ['/secrets', true],
    ['/cache', false],
  ])
}, 180_000)
