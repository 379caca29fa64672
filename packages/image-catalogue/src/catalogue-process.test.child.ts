import { createImageCatalogue } from './create-image-catalogue.ts';
import { RememberingDriver } from './image-catalogue.test.fixture.ts';
import { createLayoutSource } from './layout-source.ts';

const [stateDir, layout, digest] = process.argv.slice(2) as [string, string, string];
await using catalogue = await createImageCatalogue(
  { stateDir, sizeBytesMax: 1e9 },
  { driver: new RememberingDriver(), sources: [createLayoutSource({ folder: layout })] },
);
await catalogue.ensure({ digest }, new AbortController().signal);
