import { CliError, systemCode } from './errors.js'

/**
 * What a server that cannot listen is told of.
 *
 * @param command `meshguard serve`, for the line to try.
 * @param usual A port that every user may use.
 * @throws CliError; the error itself if it is another one.
 */
export function failToListen(error: unknown, command: string, port: number, host: string, usual: number): never {
  const code = systemCode(error)
  if (code === 'EADDRINUSE')
    throw new CliError(`Port ${port} is taken. Choose another: ${command} --port ${port === 65_535 ? port - 1 : port + 1}`)
  if (code === 'EACCES') throw new CliError(`Port ${port} may not be used by this user. Choose one above 1023: --port ${usual}`)
  if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND')
    throw new CliError(`${host} is no address of this machine. Choose another: --host`)
  throw error
}
