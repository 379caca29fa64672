import { DroverError } from '@drover/lease-kit';

/** What an agent reports about itself: for each key, in lower case, its values as reported, at least one. */
export type Properties = ReadonlyMap<string, readonly string[]>;

/** Most `Key=Value` pairs of one agent. */
export const propertiesMax = 256;
/** Longest key, in UTF-16 code units. */
export const propertyKeyLengthMax = 128;
/** Longest value, in UTF-16 code units. With the bound of a pattern's program it bounds the time of one `~=`. */
export const propertyValueLengthMax = 512;

/**
 * Properties from `Key=Value` lines. The key ends at the first `=`; a line without one is a key with an empty value. Space
 * around key and value is dropped. A key may come several times: it then has several values; a value that a key already
 * has, without regard to case, is dropped.
 *
 * Throws `PROPERTY_INVALID` for an empty key, a key or value that is too long, and too many lines.
 */
export function propertiesFrom(lines: Iterable<string>): Properties {
  const properties = new Map<string, string[]>();
  let count = 0;
  for (const line of lines) {
    if (++count > propertiesMax) throw invalid(line, `an agent has at most ${propertiesMax} properties`);
    const equals = line.indexOf('=');
    const key = (equals < 0 ? line : line.slice(0, equals)).trim().toLowerCase();
    const value = equals < 0 ? '' : line.slice(equals + 1).trim();
    if (key === '') throw invalid(line, 'the key in front of "=" must not be empty');
    if (key.length > propertyKeyLengthMax) throw invalid(line, `a key has at most ${propertyKeyLengthMax} characters`);
    if (value.length > propertyValueLengthMax) {
      throw invalid(line, `a value has at most ${propertyValueLengthMax} characters`);
    }
    const values = properties.get(key);
    if (values === undefined) properties.set(key, [value]);
    else if (!values.some((known) => known.toLowerCase() === value.toLowerCase())) values.push(value);
  }
  return properties;
}

/** The `Key=Value` lines of properties, keys in lower case: what {@link propertiesFrom} reads back as the same. */
export function propertyLines(properties: Properties): string[] {
  return [...properties].flatMap(([key, values]) => values.map((value) => `${key}=${value}`));
}

function invalid(line: string, allowed: string): DroverError {
  const shown = line.length > 80 ? `${line.slice(0, 80)}…` : line;
  return new DroverError({
    code: 'PROPERTY_INVALID',
    advice: 'fix-input',
    message: `The property ${JSON.stringify(shown)} is invalid: ${allowed}.`,
    details: { property: shown },
  });
}
