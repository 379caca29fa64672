import manifest from '../package.json' with { type: 'json' };

/** Of the agent. */
export const version: string = manifest.version;
