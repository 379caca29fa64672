import { readdirSync } from 'node:fs';
import { workspaceRoot } from './workspace-root.ts';

/** A folder of proto files and the image of its last release, which does not exist before the first one. */
export interface ProtoModule {
  readonly dir: string;
  readonly releasedImage: string;
}

/** The modules of buf.yaml. */
export const protoModules: readonly ProtoModule[] = [
  { dir: 'proto', releasedImage: 'proto/released.binpb' },
  { dir: 'packages/standard-protocols/proto', releasedImage: 'packages/standard-protocols/released.binpb' },
];

/** The generation templates at the workspace's root, one a package. */
export function generationTemplates(): string[] {
  return readdirSync(workspaceRoot).filter((name) => /^buf\.gen\..+\.yaml$/.test(name));
}
