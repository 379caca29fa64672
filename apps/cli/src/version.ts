import manifest from '../package.json' with { type: 'json' };

/** Of the command line and the apps in it. */
export const version: string = manifest.version;
