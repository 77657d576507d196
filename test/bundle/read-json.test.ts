import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { readJson } from '../../packages/core/src/bundle/read-json.js'

const RUNS = Number(process.env['MESHGUARD_RUNS'] ?? 200)

/** What is read of a text, with its list and its object put together again. */
async function read(text: string): Promise<unknown> {
  const list: unknown[] = []
  const object = new Map<string, unknown>()
  const rest = await readJson(text, {
    list: (part) => void list.push(...(part as unknown[])),
    object: (part) => {
      for (const [key, value] of Object.entries(part as object)) object.set(key, value)
    },
  })
  const { list: hasList, object: hasObject } = rest
  return {
    ...rest,
    ...(Array.isArray(hasList) && { list }),
    ...(typeof hasObject === 'object' &&
      hasObject !== null &&
      !Array.isArray(hasObject) && { object: Object.fromEntries(object) }),
  }
}

describe('JSON that is read in slices', () => {
  it(`is what JSON.parse makes of it (${RUNS} documents)`, async () => {
    const value = fc.jsonValue({ maxDepth: 3, noUnicodeString: false } as never)
    const documents = fc.record(
      { list: fc.array(value), object: fc.dictionary(fc.string(), value), a: value, 'b"\\,{': value },
      { requiredKeys: [] },
    )
    const spaces = fc.constantFrom(undefined, 1, '\t', ' \n')
    await fc.assert(
      fc.asyncProperty(documents, spaces, async (document, space) => {
        const text = JSON.stringify(document, undefined, space)
        expect(JSON.stringify(await read(text))).toBe(JSON.stringify(await read(JSON.stringify(JSON.parse(text)))))
        expect(await read(text)).toEqual(JSON.parse(text))
      }),
      { numRuns: RUNS, interruptAfterTimeLimit: 8000 },
    )
  })

  it('hides no member behind escapes in its name', async () => {
    await expect(read('{"\\u006cist":[1]}')).rejects.toThrow('list is written with escapes in its name')
    await expect(read('{"obj\\u0065ct":{"a":1}}')).rejects.toThrow(SyntaxError)
  })

  it('is read whole where it is cut into many slices', async () => {
    const list = Array.from({ length: 20_000 }, (_, i) => ({ name: `"${i},]`, text: 'x\\"'.repeat(i % 9) }))
    const object = Object.fromEntries(list.map((one, i) => [`{${i}"`, one]))
    const parts: number[] = []
    const found = new Map<string, unknown>()
    await readJson(JSON.stringify({ list, object }), {
      list: (part) => void parts.push((part as unknown[]).length),
      object: (part) => Object.entries(part as object).forEach(([key, value]) => void found.set(key, value)),
    })
    expect(parts.length).toBeGreaterThan(5)
    expect(parts.reduce((sum, length) => sum + length)).toBe(20_000)
    expect(Object.fromEntries(found)).toEqual(object)
  })

  it.each([
    ...[
      '',
      ' ',
      '[]',
      '7',
      'null',
      '{',
      '{"a"',
      '{"a":1',
      '{"a":1]',
      '{"a":1,}',
      '{,}',
      '{"a":1,,"b":2}',
      '{"a":1}x',
      '{"a":1}{}',
    ],
    ...['{"list":[1,2', '{"list":[1,]}', '{"list":[,1]}', '{"list":[1}}', '{"list":[1]]}', '{"list":[1] 2}', '{"list":[{]}]}'],
    ...['{"object":{"a":1,}}', '{"object":{"a"}}', '{"object":{1:2}}', '{"object":{"a":1]}', '{"object":{"a":"b}'],
  ])('is refused where JSON.parse refuses it, or is no object: %s', async (text) => {
    await expect(read(text)).rejects.toBeInstanceOf(SyntaxError)
  })
})
