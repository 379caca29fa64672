import manifest from '../package.json' with { type: 'json' };

/** Of the worker. */
export const version: string = manifest.version;
