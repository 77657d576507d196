/** The files to deploy several gateways with. test/e2e/deploy.test.ts runs what they have in common with those for one. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { readConfig } from '@meshguard/gateway'
import { describe, expect, it } from 'vitest'
import { parse, parseAllDocuments } from 'yaml'
import { ROOT } from './build.js'

const read = (name: string) => readFileSync(join(ROOT, 'examples/deploy', name), 'utf8')

/** The environment that compose gives a service, with its variables filled in. */
function environmentOf(service: { environment: Record<string, string> }): Record<string, string> {
  const given: Record<string, string> = { ADMIN_TOKEN: 'a'.repeat(32), POSTGRES_PASSWORD: 'secret' }
  return Object.fromEntries(
    Object.entries(service.environment).map(([name, value]) => [
      name,
      value.replace(/\$\{(\w+)[^}]*\}/g, (_, variable: string) => given[variable] ?? ''),
    ]),
  )
}

describe('compose-postgres.yaml', () => {
  const { services } = parse(read('compose-postgres.yaml'), { merge: true })
  const gateways = [services['gateway-1'], services['gateway-2']]

  it('gives every gateway settings that it starts with, the same database and keys, and a name of its own', () => {
    const configs = gateways.map((service) => readConfig(environmentOf(service)))
    expect(configs[0]?.databaseUrl).toBe('postgres://meshguard:secret@database:5432/meshguard')
    expect(configs[1]).toEqual({ ...configs[0], gatewayId: 'gateway-2' })
    expect(configs[0]?.gatewayId).toBe('gateway-1')
  })

  it('runs them without privileges, on loopback alone, and gives them longer than their 10 s to stop', () => {
    for (const service of gateways) {
      expect(service).toMatchObject({ read_only: true, cap_drop: ['ALL'] })
      expect(service.ports[0]).toMatch(/^127\.0\.0\.1:\d+:3100$/)
      expect(Number.parseInt(service.stop_grace_period, 10)).toBeGreaterThan(10)
    }
  })
})

describe('kubernetes-postgres.yaml', () => {
  const manifests = parseAllDocuments(read('kubernetes-postgres.yaml')).map((document) => {
    expect(document.errors).toEqual([])
    return document.toJS()
  })
  const deployment = manifests.find(({ kind }) => kind === 'Deployment')
  const pod = deployment.spec.template.spec
  const [container] = pod.containers

  it('gives pods settings that they start with, and each its own name', () => {
    const secrets: Record<string, string> = { 'admin-token': 'a'.repeat(32), 'database-url': 'postgres://user@host/db' }
    type Variable = {
      name: string
      value?: string
      valueFrom?: { secretKeyRef?: { key: string }; fieldRef?: { fieldPath: string } }
    }
    const textOf = ({ value, valueFrom }: Variable) =>
      value ?? secrets[valueFrom?.secretKeyRef?.key ?? ''] ?? 'meshguard-7d4b9c-x2x5z'
    const env = Object.fromEntries(container.env.map((one: Variable) => [one.name, textOf(one)]))
    expect(readConfig(env)).toMatchObject({ gatewayId: 'meshguard-7d4b9c-x2x5z', signingKeyFile: '/keys/signing-keys.json' })
    const named = container.env.find(({ name }: Variable) => name === 'GATEWAY_ID')
    expect(named.valueFrom.fieldRef.fieldPath).toBe('metadata.name')
  })

  it('lets nobody but the gateway and its group read the keys, and runs it without privileges', () => {
    const keys = pod.volumes.find(({ name }: { name: string }) => name === 'keys')
    expect(keys.secret.defaultMode & 0o007).toBe(0)
    expect(pod.securityContext.runAsNonRoot).toBe(true)
    expect(container.securityContext).toMatchObject({ allowPrivilegeEscalation: false, readOnlyRootFilesystem: true })
    expect([deployment.spec.replicas, pod.terminationGracePeriodSeconds]).toEqual([3, 15])
  })
})
