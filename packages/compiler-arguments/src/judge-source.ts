import type { LocalReason } from './local-reasons.ts';

/** What goes to another machine, or why it does not. */
export type JudgedSource =
  | { readonly kind: 'source'; readonly text: Buffer }
  | { readonly kind: 'local'; readonly reason: LocalReason; readonly detail: string };

/** What is only known when the second step reads it: time, other files, the name under which it was given. */
const late =
  /\b__(?:DATE|TIME|TIMESTAMP|BASE_FILE)__\b|^[ \t]*#[ \t]*(?:embed|pragma[ \t]+GCC[ \t]+pch_preprocess)\b|\.incbin\b|\.include(?:\s+[\\"]|\s*")/m;
/** A file there would be taken for one of the other machine's. */
const inSrc = /^# \d+ "\/src[^\n]*/m;

/**
 * Makes what the preprocessor wrote (`mode` as in the plan) fit to be compiled elsewhere: what the compiler defines of
 * itself is taken out of a source with macros, since the other compiler does so too.
 */
export function judgeSource(preprocessed: Buffer, mode: 'macros' | 'expanded'): JudgedSource {
  // One character a byte: nothing is lost, whatever the encoding is.
  const text = preprocessed.toString('latin1');
  const found = late.exec(text);
  if (found !== null) return { kind: 'local', reason: 'READS_WHEN_COMPILED', detail: found[0].trim() };
  const moved = inSrc.exec(text);
  if (moved !== null) return { kind: 'local', reason: 'PATH_IN_SRC', detail: moved[0] };
  if (mode === 'expanded') return { kind: 'source', text: preprocessed };
  return { kind: 'source', text: Buffer.from(withoutBuiltIns(text), 'latin1') };
}

/** GCC says `# 0 "<built-in>"`, then `#define` for each, until the next such line; several times. */
function withoutBuiltIns(text: string): string {
  return text.replace(/^(# \d+ "<built-in>"[^\n]*\n)(?:(?!# \d)[^\n]*\n)*/gm, '$1');
}
