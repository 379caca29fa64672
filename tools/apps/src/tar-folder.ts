import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { pack } from 'tar-stream';

/** An installed package as an archive, uncompressed, of the form that npm installs from: all files below `package/`. */
export async function tarFolder(dir: string): Promise<Buffer> {
  const archive = pack();
  const bytes = buffer(archive);
  for (const entry of await readdir(dir, { recursive: true, withFileTypes: true })) {
    const file = join(entry.parentPath, entry.name);
    const path = file.slice(dir.length + 1);
    // What is below belongs to other packages; symbolic links are left out by npm too.
    if (!entry.isFile() || path.split('/').includes('node_modules')) continue;
    const { mode } = await stat(file);
    archive.entry({ name: `package/${path}`, mode: mode & 0o777 }, await readFile(file));
  }
  archive.finalize();
  return bytes;
}
