import { appendFileSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { join } from 'node:path';

// Loaded into every process of a test: writes the URL of each module that an app loads to a file with the app's name.
const app = /@drover\/(\w+)\/dist\/main\.js$/.exec(process.argv[1] ?? '')?.[1];
if (app !== undefined) {
  const file = join(process.env['LOADED_MODULES_DIR']!, app);
  registerHooks({
    load(url, context, nextLoad) {
      appendFileSync(file, `${url}\n`);
      return nextLoad(url, context);
    },
  });
}
