const nameBytesMax = 255;
const pathBytesMax = 1024;

/**
 * Where an original agent keeps a file, below its folder: leading dots, slashes and backslashes of the name are left out, and on
 * Linux a backslash elsewhere is a character like others. Absent: no file of the folder has such a name. The original would
 * leave its folder by some of them; who asks for one gets as little as if the file could not be made.
 */
export function cachedPath(name: string): string | undefined {
  if (name.length > 2 * pathBytesMax) return undefined;
  const names: string[] = [];
  const parts = name.replace(/^[./\\]+/, '').split('/');
  // What ends so is a folder.
  if (['', '.', '..'].includes(parts.at(-1)!)) return undefined;
  for (const part of parts) {
    if (part === '' || part === '.') continue;
    if (part !== '..') names.push(part);
    else if (names.pop() === undefined) return undefined;
  }
  const path = names.join('/');
  const isFit = path.length <= pathBytesMax && names.every(({ length }) => length <= nameBytesMax);

  return isFit && !/[\0-\x1f]/.test(path) ? path : undefined;
}
