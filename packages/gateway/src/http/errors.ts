/** One thing that is wrong with a request, and where: a JSON pointer's path in dots (`rules.0.effect`), or a header's name. */
export interface RequestIssue {
  readonly path: string
  readonly message: string
}

/**
 * Refuses a request for what it is, before or beside any decision. `app.onError` turns it into
 * `{"error", "message", "issues"?, "traceId"}` with its status.
 */
export class RequestError extends Error {
  constructor(
    readonly status: 400 | 401 | 403 | 404 | 405 | 409 | 412 | 413 | 414 | 415 | 429 | 431 | 502 | 504,
    readonly error: string,
    message: string,
    readonly details: { issues?: readonly RequestIssue[]; headers?: Readonly<Record<string, string>>; code?: string } = {},
  ) {
    super(message)
    this.name = 'RequestError'
  }
}

export const badRequest = (message: string, issues?: readonly RequestIssue[]) =>
  new RequestError(400, 'bad_request', message, issues === undefined ? {} : { issues })
export const notFound = (message: string) => new RequestError(404, 'not_found', message)
export const conflict = (message: string) => new RequestError(409, 'conflict', message)
export const preconditionFailed = (message: string) => new RequestError(412, 'precondition_failed', message)
export const tooLarge = (message: string) => new RequestError(413, 'too_large', message)
export const unsupportedMediaType = (message: string) => new RequestError(415, 'unsupported_media_type', message)
