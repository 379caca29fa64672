import { appendFileSync } from 'node:fs';
import { registerHooks } from 'node:module';

// Writes the URL of every module that the process loads to a file.
const file = process.env['LOADED_MODULES_FILE']!;
registerHooks({
  load(url, context, nextLoad) {
    appendFileSync(file, `${url}\n`);
    return nextLoad(url, context);
  },
});
