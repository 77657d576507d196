import { Composer, CST, type Document, isMap, isScalar, isSeq, Lexer, Parser, type YAMLError, type YAMLMap } from 'yaml'
import type { Path } from './issues.js'
import { type PolicyText, problemAt } from './policy-text.js'

/** One document of a YAML stream, as plain values. */
export interface YamlDocument {
  readonly value: unknown
  /** Where the value at a path stands, or its key; where the path leads nowhere, the last place on the way. */
  offsetOf(path: Path, what: 'key' | 'value'): number
}

const MAX_NESTING = 16

/**
 * Parses YAML 1.2 with the core schema, or JSON, document by document.
 *
 * The library's lexer and parser are iterative but for what they put on their stack, its composer is recursive: about 1 000
 * nested brackets abort the process in V8, past any `try`. So tokens are handed on one by one, and the first that nests
 * deeper than 16 ends it all. Anchors, aliases, tags, merge keys, duplicate keys, keys that are not text and directives
 * other than `%YAML 1.2` are refused, and the library's warnings are errors.
 *
 * @throws ValidationError at the first thing that is wrong.
 */
export function* parseYaml(source: PolicyText): Generator<YamlDocument, void> {
  const composer = new Composer({ version: '1.2', schema: 'core', merge: false, strict: true, uniqueKeys: false })
  let count = 0
  for (const document of composer.compose(tokensOf(source))) {
    count++
    refuseAny([...document.errors, ...document.warnings], source)
    const root = document.contents
    if (isEmpty(root)) throw problemAt(source, document.range[0], 'A document is empty; expected a policy')
    yield { value: plainOf(root, 1, source), offsetOf: (path, what) => offsetOf(document, path, what) }
  }
  const { errors, warnings } = composer.streamInfo()
  refuseAny([...errors, ...warnings], source)
  if (count === 0) throw problemAt(source, 0, 'The file is empty; expected a policy')
}

function* tokensOf(source: PolicyText): Generator<CST.Token, void> {
  const parser = new Parser()
  const text = source.isJson ? source.text.replace(/[\t\r\n]/g, ' ') : source.text
  let isText = false
  for (const lexeme of new Lexer().lex(text)) {
    const { offset } = parser
    const refusal = isText ? undefined : refusalOf(lexeme)
    if (refusal !== undefined) throw problemAt(source, offset, refusal)
    isText = lexeme === CST.SCALAR
    let isBroken = false
    for (const token of parser.next(lexeme)) {
      isBroken ||= token.type === 'error'
      yield token
    }
    if (isBroken) break
    if (parser.stack.length > MAX_NESTING && parser.stack.filter(CST.isCollection).length > MAX_NESTING) {
      throw problemAt(source, offset, TOO_DEEP)
    }
  }
  yield* parser.end()
}

const TOO_DEEP = `Lists and mappings are nested too deep; at most ${MAX_NESTING} levels are allowed`

function refusalOf(lexeme: string): string | undefined {
  switch (CST.tokenType(lexeme)) {
    case 'alias':
      return `An unquoted * begins a YAML alias, which a policy cannot hold. Quote the pattern: ${JSON.stringify(lexeme)}`
    case 'anchor':
      return `An unquoted & begins a YAML anchor, which a policy cannot hold. Quote text that begins with it`
    case 'tag':
      return `An unquoted ! begins a YAML tag, which a policy cannot hold. Quote text that begins with it`
    case 'directive-line':
      return /^%YAML +1\.2$/.test(lexeme)
        ? undefined
        : `The directive ${JSON.stringify(lexeme)} is not allowed; only %YAML 1.2 is`
    default:
      return undefined
  }
}

/** Speaks of the first in the text; what comes later often follows from it. */
function refuseAny(wrong: readonly YAMLError[], source: PolicyText): void {
  const [first] = wrong.toSorted((one, other) => one.pos[0] - other.pos[0])
  if (first !== undefined) throw problemAt(source, first.pos[0], inWords(first, source))
}

function inWords({ code, message, pos }: YAMLError, { text }: PolicyText): string {
  const line = text.slice(text.lastIndexOf('\n', pos[0] - 1) + 1)
  if (code === 'TAB_AS_INDENT' || /^ *\t/.test(line)) return 'Expected blanks: tabs may not indent'
  return `Expected YAML: ${message}`
}

function plainOf(node: unknown, depth: number, source: PolicyText): unknown {
  if (node === null) return null
  if (isScalar(node)) return scalarOf(node, source)
  const offset = startOf(node) ?? 0
  if (depth > MAX_NESTING) throw problemAt(source, offset, TOO_DEEP)
  if (isSeq(node)) return node.items.map((item) => plainOf(item, depth + 1, source))
  if (isMap(node)) return objectOf(node, depth, source)
  throw problemAt(source, offset, 'Expected a mapping, a list or a plain value')
}

function scalarOf(node: { value: unknown; source?: string; range?: unknown }, source: PolicyText): unknown {
  if (Number.isInteger(node.value) && !Number.isSafeInteger(node.value) && !/[.eE]/.test(node.source ?? '')) {
    throw problemAt(
      source,
      startOf(node) ?? 0,
      `The number ${node.source} is too large to be held exactly; quote it if it is text`,
    )
  }
  return node.value
}

function objectOf(node: YAMLMap, depth: number, source: PolicyText): object {
  const object: Record<string, unknown> = {}
  for (const { key, value } of node.items) {
    const offset = startOf(key) ?? startOf(value) ?? startOf(node) ?? 0
    const name = isScalar(key) ? key.value : undefined
    if (typeof name !== 'string')
      throw problemAt(source, offset, 'Keys are text; quote a key that is a number, true, false or null')
    if (name === '__proto__' || name === '<<') throw problemAt(source, offset, `The key ${JSON.stringify(name)} is not allowed`)
    if (Object.hasOwn(object, name))
      throw problemAt(source, offset, `The key ${JSON.stringify(name)} stands here twice; keep one`)
    object[name] = plainOf(value, depth + 1, source)
  }
  return object
}

function offsetOf(document: Document.Parsed, path: Path, what: 'key' | 'value'): number {
  let node: unknown = document.contents
  let offset = startOf(node) ?? document.range[0]
  for (const [i, step] of path.entries()) {
    const pair = isMap(node) ? node.items.find(({ key }) => isScalar(key) && key.value === step) : undefined
    node = isSeq(node) && typeof step === 'number' ? node.items[step] : pair?.value
    if (node === undefined) return offset
    const atKey = (what === 'key' && i === path.length - 1) || isEmpty(node)
    offset = (atKey ? startOf(pair?.key) : undefined) ?? startOf(node) ?? offset
  }
  return offset
}

/** Nothing was written, not even `null`. */
function isEmpty(node: unknown): boolean {
  return node === null || (isScalar(node) && node.value === null && !node.source)
}

function startOf(node: unknown): number | undefined {
  const range: unknown = typeof node === 'object' && node !== null && 'range' in node ? node.range : undefined
  return Array.isArray(range) && typeof range[0] === 'number' ? range[0] : undefined
}
