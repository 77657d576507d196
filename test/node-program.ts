import { build } from 'esbuild'

/**
 * A program for a process of its own, with the sources of the packages in it: `node --input-type=module -` reads it, and runs it
 * from any folder that has undici above it.
 *
 * @param contents An ES module that imports packages by name.
 */
export async function nodeProgram(contents: string): Promise<string> {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: import.meta.dirname },
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'node',
    external: ['undici'],
    conditions: ['meshguard:source', 'node'],
    banner: { js: `import { createRequire } from 'node:module'; const require = createRequire(import.meta.url)` },
  })
  return outputFiles[0]?.text ?? ''
}

/** Node's arguments that take a program from the standard input; those of the program follow. */
export const FROM_INPUT = ['--input-type=module', '-']
