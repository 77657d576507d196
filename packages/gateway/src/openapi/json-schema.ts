import { z } from 'zod'

type Json = Readonly<Record<string, unknown>>

/** Schemas by the names they have in the document. */
export type Components = Map<string, Json>

/**
 * Writes a zod schema as JSON Schema 2020-12, as OpenAPI 3.1 has it. What has an `id` in its metadata becomes a component and is
 * referred to.
 *
 * @param io `input` for what is sent to the gateway, `output` for what it answers.
 * @throws Error when two schemas have one name, or one says different things as input and as output.
 */
export function writeSchema(schema: z.core.$ZodType, io: 'input' | 'output', components: Components): Json {
  const {
    $schema,
    $defs = {},
    ...written
  } = z.toJSONSchema(schema, { io, unrepresentable: 'any', override }) as Json & {
    $defs?: Record<string, Json>
  }
  for (const [name, definition] of Object.entries($defs)) add(components, name, pointed(definition))
  return pointed(written)
}

function add(components: Components, name: string, definition: Json): void {
  const there = components.get(name)
  if (there !== undefined && JSON.stringify(there) !== JSON.stringify(definition)) {
    throw new Error(`Two different schemas are named "${name}" in the OpenAPI document`)
  }
  components.set(name, definition)
}

/** A format says what its long pattern says. */
function override({ jsonSchema }: { jsonSchema: z.core.JSONSchema.BaseSchema }): void {
  if (jsonSchema.format !== undefined) delete jsonSchema.pattern
}

/** References to definitions within a schema become references to components. */
function pointed(schema: Json): Json {
  return JSON.parse(JSON.stringify(schema).replaceAll('"#/$defs/', '"#/components/schemas/'))
}
