import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { createImageCatalogue } from './create-image-catalogue.ts';
import { imageOf, RememberingDriver, tarOf, TestFolder, writeLayout } from './image-catalogue.test.fixture.ts';
import { createLayoutSource } from './layout-source.ts';

test('a process that is killed while it unpacks leaves nothing that is used', async () => {
  using folder = new TestFolder();
  const count = 6_000;
  const image = imageOf([
    await tarOf(Array.from({ length: count }, (_, index) => ({ name: `d/${index}`, text: 'x' }))),
  ]);
  writeLayout(folder.at('layout'), image);
  const child = spawn(
    process.execPath,
    [
      '--conditions=@drover/source',
      join(import.meta.dirname, 'catalogue-process.test.child.ts'),
      folder.at('state'),
      folder.at('layout'),
      image.digest,
    ],
    { stdio: ['ignore', 'inherit', 'inherit'] },
  );
  const unpacked = (): number => {
    const building = folder.at('state/building');
    const [name] = existsSync(building) ? readdirSync(building) : [];
    const files = join(building, name ?? '', 'root/d');
    return name !== undefined && existsSync(files) ? readdirSync(files).length : 0;
  };
  await expect.poll(unpacked, { timeout: 15_000, interval: 5 }).toBeGreaterThan(100);
  child.kill('SIGKILL');
  await once(child, 'exit');
  expect(unpacked()).toBeLessThan(count);

  const driver = new RememberingDriver();
  await using catalogue = await createImageCatalogue(
    { stateDir: folder.at('state'), sizeBytesMax: 1e9 },
    { driver, sources: [createLayoutSource({ folder: folder.at('layout') })] },
  );
  expect(catalogue.held()).toEqual([]);
  expect(['images', 'building', 'leaving'].map((name) => readdirSync(folder.at('state', name)).length)).toEqual([
    0, 0, 0,
  ]);
  await catalogue.ensure({ digest: image.digest }, new AbortController().signal);
  expect(readdirSync(join(driver.images.get(image.digest)!.folder, 'd'))).toHaveLength(count);
});
