import { open } from 'node:fs/promises';
import { DroverError } from '@drover/lease-kit';

const bytesMax = 64 * 1024;
const linesMax = 128;
const keyLengthMax = 128;
const valueLengthMax = 512;

/**
 * Properties from a file of `KEY=VALUE` lines, e.g. written by a script of the machine's owner. Empty lines and those that
 * begin with `#` say nothing; a key may repeat. A file that is not there is empty. Throws `FACTS_FILE_INVALID` with the
 * line, for a file above 64 KiB or 128 facts, and for one that cannot be read.
 */
export async function readFactsFile(path: string): Promise<Record<string, string[]>> {
  const text = await readBounded(path);
  const facts: Record<string, string[]> = Object.create(null) as Record<string, string[]>;
  let count = 0;
  for (const [index, raw] of text.split('\n').entries()) {
    const line = raw.trim();
    if (line === '' || line.startsWith('#')) continue;
    const at = line.indexOf('=');
    const key = line.slice(0, Math.max(0, at)).trim();
    const value = line.slice(at + 1).trim();
    const where = `${path}:${index + 1}`;
    if (at < 1 || key === '') throw invalid(where, 'is no KEY=VALUE');
    if (key.length > keyLengthMax) throw invalid(where, `a key has at most ${keyLengthMax} characters`);
    if (value.length > valueLengthMax) throw invalid(where, `a value has at most ${valueLengthMax} characters`);
    if (text.includes('\0')) throw invalid(where, 'NUL is not allowed');
    if (++count > linesMax) throw invalid(where, `at most ${linesMax} facts are allowed`);
    (facts[key] ??= []).push(value);
  }
  return { ...facts };
}

async function readBounded(path: string): Promise<string> {
  try {
    await using file = await open(path, 'r');
    const buffer = Buffer.alloc(bytesMax + 1);
    const { bytesRead } = await file.read(buffer, 0, buffer.length, 0);
    if (bytesRead > bytesMax) throw invalid(path, `has more than ${bytesMax} bytes, which is the most allowed`);
    return buffer.toString('utf8', 0, bytesRead);
  } catch (error) {
    if (error instanceof DroverError) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return '';
    throw invalid(path, message);
  }
}

const invalid = (where: string, problem: string): DroverError =>
  new DroverError({ code: 'FACTS_FILE_INVALID', advice: 'fix-input', message: `${where}: ${problem}` });
