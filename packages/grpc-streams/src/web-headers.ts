import type { IncomingHttpHeaders } from 'node:http2';

/** Headers or trailers of an HTTP/2 stream as Fetch headers, without the pseudo-headers. */
export function webHeaders(headers: IncomingHttpHeaders): Headers {
  const result = new Headers();
  for (const [name, value] of Object.entries(headers)) {
    if (name.startsWith(':') || value === undefined) continue;
    for (const one of Array.isArray(value) ? value : [value]) result.append(name, one);
  }
  return result;
}
