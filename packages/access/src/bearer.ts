/** The bearer credential of a call; undefined if it shows none. */
export function bearerOf(header: Headers): string | undefined {
  return /^Bearer +([^\s]+)$/i.exec(header.get('authorization') ?? '')?.[1];
}
