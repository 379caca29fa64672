import { clone, toBinary } from '@bufbuild/protobuf';
import { AgentAnnouncementSchema, type AgentAnnouncement } from '@drover/herd-protocol';

/** The longest name of a card or pool, and how many of each are told at most. */
const entrySizeCharsMax = 64;
const entriesMax = 32;
/** The longest of what else is text. */
const textSizeCharsMax = 128;

/**
 * An announcement of at most `sizeBytesMax`: what is not needed to reach and trust the agent is left out for that, the ends of
 * lists first. Undefined if it cannot be made so small.
 */
export function fitAnnouncement(announcement: AgentAnnouncement, sizeBytesMax: number): Uint8Array | undefined {
  const cut = clone(AgentAnnouncementSchema, announcement);
  for (const list of ['gpus', 'pools'] as const) {
    cut[list] = cut[list].slice(0, entriesMax).map((entry) => cutText(entry, entrySizeCharsMax));
  }
  for (const field of ['name', 'version', 'architecture'] as const) cut[field] = cutText(cut[field], textSizeCharsMax);
  const bytes = (): Uint8Array => toBinary(AgentAnnouncementSchema, cut);
  let fitted = bytes();
  while (fitted.length > sizeBytesMax && cut.gpus.length + cut.pools.length > 0) {
    (cut.pools.length >= cut.gpus.length ? cut.pools : cut.gpus).pop();
    fitted = bytes();
  }
  if (fitted.length > sizeBytesMax) {
    Object.assign(cut, { architecture: '', processors: 0, ramTotalBytes: 0n, ramFreeBytes: 0n, load: 0 });
    cut.name = cutText(cut.name, entrySizeCharsMax);
    fitted = bytes();
  }
  return fitted.length > sizeBytesMax ? undefined : fitted;
}

/** Cuts by characters, so that none is torn. */
function cutText(text: string, charsMax: number): string {
  return text.length <= charsMax ? text : [...text].slice(0, charsMax).join('');
}
