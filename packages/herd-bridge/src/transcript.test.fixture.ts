import { readFileSync } from 'node:fs';

/** What a transcript holds, see transcripts/README.md. */
export function transcript(name: string): Buffer {
  return readFileSync(new URL(`../transcripts/${name}.herd`, import.meta.url));
}
