/** The distribution, as os-release(5) names it. */
export interface Distribution {
  /** `ID`, in lower case, e.g. `ubuntu`. */
  readonly id: string;
  /** `ID_LIKE`: distributions that it is made from, e.g. `debian`. */
  readonly like: readonly string[];
  /** `VERSION_ID`, e.g. `24.04`; absent for rolling releases. */
  readonly version: string | undefined;
}

/** Reads the text of `/etc/os-release`. Undefined when it names no distribution. */
export function distributionFrom(text: string): Distribution | undefined {
  const values = new Map<string, string>();
  for (const line of text.split('\n')) {
    const parts = /^\s*([A-Z][A-Z0-9_]*)=(.*)$/.exec(line);
    if (parts) values.set(parts[1]!, unquoted(parts[2]!.trim()));
  }
  const id = values.get('ID');
  if (!id) return undefined;
  return {
    id: id.toLowerCase(),
    like: (values.get('ID_LIKE') ?? '').toLowerCase().split(/\s+/).filter(Boolean),
    version: values.get('VERSION_ID') || undefined,
  };
}

/** Values are quoted as in a shell. */
function unquoted(value: string): string {
  const quote = value[0];
  if (value.length < 2 || (quote !== '"' && quote !== "'") || !value.endsWith(quote)) return value;
  const inner = value.slice(1, -1);
  return quote === '"' ? inner.replace(/\\(["$`\\])/g, '$1') : inner;
}
