import { inputInvalid } from '@drover/lease-store';

/** Quotes a schema's name. Throws `STORE_INPUT_INVALID` for one that could not stand in every statement as it is. */
export function quotedSchema(schema: string): string {
  if (!/^[a-z_][a-z0-9_]{0,39}$/.test(schema)) {
    throw inputInvalid('schema', JSON.stringify(schema), 'lower-case letters, digits and "_", at most 40 characters');
  }
  return `"${schema}"`;
}
