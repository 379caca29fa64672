/** Most bytes of an answer of an issuer. */
export const answerBytesMax = 1024 * 1024;

/** `fetch` that takes no redirect and at most {@link answerBytesMax} bytes, so that an issuer cannot fill the memory. */
export async function fetchBounded(url: string, init: RequestInit): Promise<Response> {
  const response = await fetch(url, { ...init, redirect: 'error' });
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.byteLength;
    if (size > answerBytesMax) throw new Error(`${url} answers more than ${answerBytesMax} bytes`);
    chunks.push(chunk);
  }
  const { status, headers } = response;
  return new Response(status === 204 || status === 304 ? null : Buffer.concat(chunks), { status, headers });
}
