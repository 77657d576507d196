/** Tests of the gateway, over again, with PostgreSQL behind every gateway. Others run so with `MESHGUARD_STORE=postgres`. */
process.env['MESHGUARD_STORE'] = 'postgres'

await import('../gateway/admin-agents.test.js')
await import('../gateway/admin-policies.test.js')
await import('../gateway/audit-api-stream.test.js')
await import('../gateway/delegation-decide.test.js')
