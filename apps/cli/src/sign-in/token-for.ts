import { credentialsFile, readCredential, writeCredential } from './credentials-file.ts';

/** A token that ends sooner is made anew first. */
const leftMsMin = 30_000;

/** How a command is told what to show a server. */
export interface TokenSource {
  /** `--token`. */
  readonly token?: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
}

/**
 * What a server is shown: `--token`, else DROVER_TOKEN, else what `drover login` keeps for this server, made anew if it is
 * about to end. Undefined: nothing.
 */
export async function tokenFor(origin: string, { token, env, signal }: TokenSource): Promise<string | undefined> {
  const said = token ?? env['DROVER_TOKEN'];
  if (said !== undefined) return said;
  const file = credentialsFile(env);
  const stored = readCredential(file, origin);
  if (stored === undefined) return undefined;
  if (stored.refresh === undefined || (stored.expiresAtMs ?? Infinity) - Date.now() > leftMsMin) return stored.token;
  // Loaded only here: most commands sign nobody in.
  const { refreshed } = await import('./sign-in-on-device.ts');
  const fresh = await refreshed(stored, signal);
  // The server says best what is wrong with one that has ended.
  if (fresh === undefined) return stored.token;
  writeCredential(file, origin, fresh);
  return fresh.token;
}
