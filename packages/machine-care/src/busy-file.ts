import { readFile, rename, rm, writeFile } from 'node:fs/promises';

/** What a person wishes: the machine for something else. */
export interface BusyWish {
  /** Since the Unix epoch; absent means until it is taken back. */
  readonly untilMs?: number;
  /** For people, at most 256 characters. */
  readonly comment: string;
}

const commentLengthMax = 256;

/** Says that the machine is needed, to the agent whose control file this is; it looks every few seconds. */
export async function writeBusyFile(path: string, wish: BusyWish): Promise<void> {
  const comment = wish.comment.slice(0, commentLengthMax);
  await writeFile(`${path}.next`, `${JSON.stringify({ ...wish, comment })}\n`, { mode: 0o600 });
  await rename(`${path}.next`, path);
}

/** Takes the wish back. True if there was one. */
export async function removeBusyFile(path: string): Promise<boolean> {
  const before = await readFile(path).catch(() => undefined);
  await rm(path, { force: true });
  return before !== undefined;
}

/** The wish that holds now. A file that is there and says nothing that can be read is a wish without an end. */
export async function readBusyFile(path: string, nowMs: number): Promise<BusyWish | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    return { comment: '' };
  }
  try {
    const { untilMs, comment } = JSON.parse(text) as { untilMs?: unknown; comment?: unknown };
    const said = typeof comment === 'string' ? comment.slice(0, commentLengthMax) : '';
    if (typeof untilMs !== 'number') return { comment: said };
    return untilMs > nowMs ? { untilMs, comment: said } : undefined;
  } catch {
    return { comment: '' };
  }
}
