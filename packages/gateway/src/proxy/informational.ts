import type { ServerResponse } from 'node:http'
import type { ParsedHeaders } from './header-filter.js'

/**
 * Passes an informational answer of an upstream on (RFC 9110, 15.2), as far as Node can write it: 102, and 103 with its links
 * (RFC 8297) and nothing else. Not to a client of HTTP/1.0, which takes it for the answer.
 */
export function passOnInformation(outgoing: ServerResponse, status: number, headers: ParsedHeaders): void {
  if (outgoing.req.httpVersion === '1.0') return
  if (status === 102) outgoing.writeProcessing()
  if (status !== 103) return
  const link = linksIn(headers['link'])
  if (link.length > 0) outgoing.writeEarlyHints({ link })
}

/** One link (RFC 8288, 3) as Node takes it: it throws for any other. */
const LINK =
  /^<[\x21-\x3b\x3d\x3f-\x7e]*>(?:[ \t]*;[ \t]*[\w*-]+(?:=(?:"[\w!#$%&'*+.^`|~:/?@,-]*"|[\w!#$%&'*+.^`|~:/?@-]+))?)*$/

function linksIn(field: string | readonly string[] | undefined): string[] {
  const links = [field ?? []].flat().flatMap((one: string) => one.split(/,[ \t]*(?=<)/))
  return links.map((one) => one.trim()).filter((one) => LINK.test(one))
}
