import { ValidationError } from '@meshguard/core'
import { parsePolicies } from '@meshguard/core/yaml'
import { describe, expect, it } from 'vitest'

const RULES = 'rules:\n  - effect: allow\n    actions: ["read:*"]\n'
const encode = (text: string, ...bytes: number[]) => new Uint8Array([...new TextEncoder().encode(text), ...bytes])

/** What is wrong, the text, where (line:column) and a word of the message. */
const bad: [title: string, text: string | Uint8Array, place: string, word: string][] = [
  ['sequences nested with dashes on one line', '- '.repeat(3000), '1:33', 'nested'],
  ['explicit keys nested on one line', '? '.repeat(3000), '1:33', 'nested'],
  ['empty keys nested on one line', ': '.repeat(3000), '1:33', 'nested'],
  ['brackets nested at the top', '['.repeat(3000), '1:17', 'nested'],
  ['braces nested in a value', `name: ${'{a: '.repeat(3000)}`, '1:67', 'nested'],
  ['JSON nested far too deep', `{"a":${'['.repeat(3000)}${']'.repeat(3000)}}`, '1:21', 'nested'],
  ['blocks nested by indentation', Array.from({ length: 300 }, (_, i) => `${' '.repeat(i)}a:`).join('\n'), '17:18', 'nested'],
  ['pairs in lists, 17 deep', `name: ${'[a: '.repeat(15)}x${']'.repeat(15)}`, '1:36', 'nested'],
  [
    'an alias in a list',
    `name: p\nrules:\n  - effect: allow\n    actions: [read:*, *:email]\n`,
    '4:23',
    'Quote the pattern: "*:email"',
  ],
  ['a star alone', `name: p\nrules:\n  - effect: allow\n    actions: [*]\n`, '4:15', 'Quote the pattern: "*"'],
  ['an anchor on a value', `name: &n p\n${RULES}`, '1:7', 'anchor'],
  ['a tag of one’s own', `name: !secret p\n${RULES}`, '1:7', 'tag'],
  ['a merge key', `name: p\n<<: { a: 1 }\n${RULES}`, '2:1', '"<<"'],
  ['the key __proto__', `name: p\n__proto__: { rules: [] }\n${RULES}`, '2:1', '__proto__'],
  ['the key __proto__ in JSON, with an escape', '{"name": "p",\n "__pr\\u006fto__": {}}', '2:2', '__proto__'],
  ['a duplicate key in JSON, with an escape', '{"name": "p",\n\t"n\\u0061me": "q"}', '2:2', 'twice'],
  ['a number as a key', `name: p\n1: x\n${RULES}`, '2:1', 'quote'],
  ['true as a key', `name: p\ntrue: x\n${RULES}`, '2:1', 'quote'],
  ['a list as a key', `? [a]\n: x\n${RULES}`, '1:3', 'quote'],
  ['a key that is empty', `name: p\n: x\n${RULES}`, '2:1', 'quote'],
  ['a tag directive', `%TAG ! tag:x,2000:\n---\nname: p\n${RULES}`, '1:1', 'directive'],
  ['another version of YAML', `%YAML 1.1\n---\nname: p\n${RULES}`, '1:1', '%YAML 1.2'],
  ['a directive that nobody knows', `# x\n%FOO bar\n---\nname: p\n${RULES}`, '2:1', 'directive'],
  ['a NUL', `name: p\0\n${RULES}`, '1:8', 'U+0000'],
  ['an escape character in a comment', `name: p\n# \u001b[2J\n${RULES}`, '2:3', 'U+001B'],
  ['a lone surrogate', `name: "\ud800"\n${RULES}`, '1:8', 'U+D800'],
  ['a byte order mark in the middle', `name: p\n${RULES}---\n\ufeffname: q\n${RULES}`, '6:1', 'U+FEFF'],
  ['a carriage return alone', `name: p\r${RULES}`, '1:8', 'carriage return'],
  ['bytes that are not UTF-8', encode('name: p\nx: ', 0xff, 0xfe), '2:4', 'UTF-8'],
  ['UTF-16', new Uint8Array([0xff, 0xfe, 0x6e, 0x00]), '1:1', 'UTF-8'],
  ['tabs as indentation in brackets', 'name: p\nrules: [\n\t{ effect: allow, actions: ["a:b"] }\n]\n', '3:2', 'tabs'],
  ['a document that is empty', `name: p\n${RULES}---\n`, '5:1', 'empty'],
  ['comments and nothing else', '# nothing\n', '1:1', 'empty'],
  ['a plain word', 'hello', '1:1', 'mapping'],
  ['a JSON array of policies', '[{ "name": "p" }]', '1:1', '---'],
  ['text behind the end of a document', `name: p\n${RULES}...\nfoo`, '6:1', 'mapping'],
  ['a quote that is not closed', `name: "p\n${RULES}`, '1:9', 'quote'],
  ['a bracket that is not closed', 'name: p\nrules: [\n', '3:1', ']'],
  ['a colon in plain text', `name: p: q\n${RULES}`, '1:7', 'mappings'],
  ['a whole number that floating point cannot hold', `name: p\nversion: 12345678901234567890\n${RULES}`, '2:10', 'exactly'],
  ['a version that is a number', `name: p\nversion: 1.0\n${RULES}`, '2:10', 'quote'],
  ['a key without a value', `name:\n${RULES}`, '1:1', 'name'],
  ['a missing key, at the mapping that lacks it', `name: p\n${RULES}  - actions: ["a:b"]\n`, '5:5', 'effect'],
  ['an unknown key, at the key', `name: p\n${RULES}    reson: x\n`, '5:5', 'reason'],
  [
    'an unknown operator in a later document',
    `name: p\n${RULES}---\nname: q\n${RULES}    conditions:\n      resource: { like: x }\n`,
    '11:19',
    'like',
  ],
  ['a wrong value on the next line, at the value', `name: p\n${RULES}combine:\n  any\n`, '6:3', 'first-match'],
  ['more than 256 KiB of YAML', `name: p\ndescription: "${'é'.repeat(140_000)}"\n${RULES}`, '1:1', 'too large'],
  ['more than 1 MiB', ' '.repeat(1_100_000), '1:1', 'too large'],
]

describe('a policy text that is wrong', () => {
  it.each(bad)('%s', (_title, text, place, word) => {
    for (const _time of ['first', 'second']) {
      const [issue] = issuesOf(text)
      expect(`${issue?.line}:${issue?.column}`).toBe(place)
      expect(issue?.message).toContain(word)
      expect(issue?.file).toBe('p.yaml')
    }
  })

  it('is told everything that is wrong with it, in the order of the lines', () => {
    const issues = issuesOf(
      `nme: p\nrules:\n  - effect: alow\n    actions:\n      - "read"\n---\nname: q\nrles: []\n---\nname: [`,
    )
    expect(issues.map(({ line }) => line)).toEqual([1, 1, 3, 5, 7, 8, 10])
  })

  it('is told a hundred things at most, and how many more there are', () => {
    const issues = issuesOf(Array.from({ length: 5000 }, (_, i) => `k${i}: x\n`).join(''))
    expect(issues).toHaveLength(101)
    expect(issues[100]?.message).toContain('more')
  })

  it('names both places when two policies have one name', () => {
    const [issue] = issuesOf(`name: a\n${RULES}---\n${RULES}name: a\n`)
    expect(issue).toMatchObject({ line: 9, column: 7 })
    expect(issue?.message).toContain('p.yaml:1:7')
  })

  it('is a ValidationError even if it is no text at all', () => {
    for (const value of [undefined, null, 7, {}, []]) {
      expect(() => parsePolicies(value as unknown as string)).toThrow(ValidationError)
    }
  })
})

describe('a policy text that is right', () => {
  const good: [title: string, text: string | Uint8Array][] = [
    ['with a byte order mark', `\ufeffname: p\n${RULES}`],
    ['as bytes with a byte order mark', encode(`\ufeffname: p\n${RULES}`)],
    ['with carriage returns and line feeds', `name: p\n${RULES}`.replaceAll('\n', '\r\n')],
    ['that says %YAML 1.2', `%YAML 1.2\n---\nname: p\n${RULES}`],
    ['with comments, a document start and a document end', `# p\n---\nname: p # the name\n${RULES}...\n`],
    [
      'as JSON, indented with tabs, a colon on its own line',
      '{\n\t"name":\n\t\t"p",\n\t"rules"\n:\n[\n{"effect":"allow","actions":["read:*"]}\n]\n}\n',
    ],
    [
      'as JSON over 256 KiB',
      JSON.stringify({ name: 'p', description: 'x'.repeat(300_000), rules: [{ effect: 'allow', actions: ['a:b'] }] }),
    ],
    ['with text over several lines', `name: p\ndescription: |\n  one\n  \ttwo\n${RULES}`],
  ]
  it.each(good)('%s', (_title, text) => {
    expect(parsePolicies(text).policies.map(({ name }) => name)).toEqual(['p'])
  })

  it('reads JSON exactly as JSON.parse does', () => {
    const policy = {
      name: 'p',
      description: '\u2028 " \\ / \b \u0007 é 😀 # not a comment: {',
      rules: [{ effect: 'allow', actions: ['a:b'] }],
    }
    expect(parsePolicies(JSON.stringify(policy)).policies[0]?.description).toBe(policy.description)
    const escaped = JSON.stringify(policy).replace('😀', '\\ud83d\\ude00').replace('/ ', '\\/ ')
    expect(parsePolicies(escaped).policies[0]?.description).toBe(policy.description)
  })
})

function issuesOf(text: string | Uint8Array): ValidationError['issues'] {
  try {
    parsePolicies(text, { file: 'p.yaml' })
  } catch (error) {
    if (error instanceof ValidationError) return error.issues
    throw error
  }
  throw new Error('The text was accepted')
}
