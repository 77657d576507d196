import { readFileSync } from 'node:fs'
import { cp, mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parse, parseAllDocuments } from 'yaml'
import { ROOT } from './build.js'
import { buildImage, type Image, stepsOf } from './dockerfile.js'
import { type Running, startNode, stop } from './process.js'

const DEPLOY = join(ROOT, 'examples/deploy')
const MINUTES_5 = 300_000
const ADMIN_TOKEN = 'an-admin-token-of-this-test-alone-0123456789'
const read = (name: string) => readFileSync(join(DEPLOY, name), 'utf8')

const steps = stepsOf(read('Dockerfile'))
const restOf = (step: string) => steps.filter(({ name }) => name === step).map(({ rest }) => rest)
const compose = parse(read('compose.yaml')).services.gateway
const manifests = parseAllDocuments(read('kubernetes.yaml')).map((document) => {
  expect(document.errors).toEqual([])
  return document.toJS()
})
const manifest = (kind: string) => manifests.find((one) => one.kind === kind)
const pod = manifest('Deployment').spec.template.spec
const [container] = pod.containers

describe('the files to deploy with', () => {
  it('name one port: what the image exposes, and what compose and Kubernetes send to', () => {
    expect(restOf('EXPOSE')).toEqual(['3100'])
    expect(restOf('ENV')).toContain('PORT=3100')
    expect(compose.ports).toEqual(['127.0.0.1:3100:3100'])
    expect(container.ports).toEqual([{ name: 'http', containerPort: 3100 }])
    expect(manifest('Service').spec.ports[0]).toMatchObject({ port: 3100, targetPort: 'http' })
  })

  it('set variables that the gateway reads', () => {
    const config = readFileSync(join(ROOT, 'packages/gateway/src/config.ts'), 'utf8')
    const names = [
      ...restOf('ENV').map((assignment) => assignment.split('=')[0] as string),
      ...Object.keys(compose.environment),
      ...container.env.map(({ name }: { name: string }) => name),
    ]
    for (const name of new Set(names)) if (name !== 'NODE_ENV') expect(config, name).toContain(name)
  })

  it('keep data in a volume, give the gateway longer than its 10 s to stop, and one pod one database', () => {
    expect(compose.volumes).toContain('data:/data')
    expect(Number.parseInt(compose.stop_grace_period, 10)).toBeGreaterThan(10)
    expect(pod.terminationGracePeriodSeconds).toBeGreaterThan(10)
    expect(manifest('Deployment').spec).toMatchObject({ replicas: 1, strategy: { type: 'Recreate' } })
  })

  it('run it without privileges', () => {
    expect(restOf('USER')).toEqual(['node'])
    expect(compose).toMatchObject({ read_only: true, cap_drop: ['ALL'] })
    expect(pod.securityContext.runAsNonRoot).toBe(true)
    expect(container.securityContext).toMatchObject({ allowPrivilegeEscalation: false, readOnlyRootFilesystem: true })
  })
})

describe('the image, made by the steps of its Dockerfile', () => {
  let folder: string
  let image: Image
  let gateway: Running
  let url: string

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'meshguard-image-'))
    image = await buildImage(steps, ROOT, folder)
    await mountConfigMap(join(image.root, 'policies'))
    const [program = '', ...args] = image.command
    expect(program).toBe('node')
    gateway = startNode(
      args,
      { ...environment(image), PORT: '0', HOST: '127.0.0.1', MODE: 'enforce', ADMIN_TOKEN },
      image.workdir,
    )
    url = (await gateway.printed(/http:\/\/127\.0\.0\.1:\d+/))[0]
  }, MINUTES_5)

  afterAll(async () => {
    if (gateway !== undefined) await stop(gateway)
    await rm(folder, { recursive: true, force: true })
  })

  it('answers every probe of Kubernetes and its own health check', async () => {
    for (const probe of [container.startupProbe, container.readinessProbe, container.livenessProbe]) {
      expect((await fetch(url + probe.httpGet.path)).status, probe.httpGet.path).toBe(200)
    }
    const port = new URL(url).port
    const [, flag = '', script = ''] = image.probe
    expect(script).toContain(`127.0.0.1:${restOf('EXPOSE')[0]}/health`)
    expect((await startNode([flag, script.replace('3100', port)]).ended).code).toBe(0)
    expect((await startNode([flag, script.replace('3100', '1')]).ended).code).toBe(1)
  })

  it('decides by the policies of the ConfigMap, and by its next version', async () => {
    const created = await fetch(`${url}/admin/agents`, {
      method: 'POST',
      headers: { 'x-admin-token': ADMIN_TOKEN, 'content-type': 'application/json' },
      body: JSON.stringify({ name: 'reader' }),
    })
    const { token } = (await created.json()) as { token: string }
    const check = async (action: string) =>
      (await fetch(`${url}/proxy/check`, { headers: { authorization: `Bearer ${token}`, 'x-meshguard-action': action } }))
        .status
    expect([await check('read:contacts'), await check('write:contacts')]).toEqual([200, 403])
    await updateConfigMap(join(image.root, 'policies'), 'name: readers\nrules:\n  - { effect: allow, actions: ["write:*"] }\n')
    await expect.poll(() => check('write:contacts'), { timeout: 10_000, interval: 50 }).toBe(200)
    expect(await check('read:contacts')).toBe(403)
  })

  it('ends with exit code 0 when it is told to', async () => {
    gateway.child.kill('SIGTERM')
    expect((await gateway.ended).code).toBe(0)
  })
})

/** The image's variables, with its absolute paths moved below the folder that stands for `/`. */
function environment({ env, root }: Image): Record<string, string> {
  return Object.fromEntries(Object.entries(env).map(([name, value]) => [name, value.replace(/(?<=^|:)\//, `${root}/`)]))
}

/** A ConfigMap as a kubelet mounts it: links to files below a link that is replaced when the map changes. */
async function mountConfigMap(folder: string): Promise<void> {
  await mkdir(join(folder, '..v1'), { recursive: true })
  await cp(join(DEPLOY, 'policies/readers.yaml'), join(folder, '..v1/readers.yaml'))
  expect(manifest('ConfigMap').data['readers.yaml']).toContain('name: readers')
  await symlink('..v1', join(folder, '..data'))
  await symlink('..data/readers.yaml', join(folder, 'readers.yaml'))
}

async function updateConfigMap(folder: string, text: string): Promise<void> {
  await mkdir(join(folder, '..v2'))
  await writeFile(join(folder, '..v2/readers.yaml'), text)
  await symlink('..v2', join(folder, '..data_tmp'))
  await rename(join(folder, '..data_tmp'), join(folder, '..data'))
  await rm(join(folder, '..v1'), { recursive: true })
}
