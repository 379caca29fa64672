import { writePrivately } from './private-files.ts';

/** Writes a file again and again, larger than a block of any disk, and says so each time, until it is killed. */
const [, , path = ''] = process.argv;
for (let round = 0; ; round++) {
  writePrivately(path, { round, filler: String(round % 10).repeat(200_000) });
  process.stdout.write('.');
}
