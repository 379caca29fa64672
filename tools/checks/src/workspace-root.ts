import { dirname } from 'node:path';

/** Absolute path of the workspace. */
export const workspaceRoot = dirname(dirname(dirname(import.meta.dirname)));
