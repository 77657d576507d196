import { CliError } from './errors.js'
import { print } from './output.js'
import { openWholeFile } from './whole-file.js'

/**
 * Makes something that has a token, and writes the token to a new file of mode 0600 if one is named. The file is opened first:
 * a token that is shown once is not made before there is a place for it.
 *
 * @throws CliError for a file that is there already or cannot be written; when that shows only afterwards, it holds the token.
 */
export async function keepToken<T extends { readonly token: string }>(
  output: string | undefined,
  make: () => Promise<T>,
): Promise<T> {
  if (output === undefined) return make()
  const file = await openWholeFile(output, { replace: false })
  let made: T
  try {
    made = await make()
  } catch (error) {
    await file.discard()
    throw error
  }
  try {
    await file.handle.write(`${made.token}\n`)
    await file.commit()
    return made
  } catch (error) {
    throw new CliError(
      `${output} could not be written (${error instanceof Error ? error.message : error}). The token is: ${made.token}`,
    )
  }
}

/** Says where the token is, or prints it. */
export function printToken(token: string, output: string | undefined): void {
  if (output === undefined) print(`Token, shown this once:\n${token}`)
  else print(`The token is in ${output}`)
}
