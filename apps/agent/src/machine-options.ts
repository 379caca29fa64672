import { DroverError } from '@drover/lease-kit';
import type { AgentConfig } from './agent-config.ts';

/** What a configuration says of the machine beside what the machine says itself. Throws `CONFIG_INVALID`. */
export function machineOptions(config: AgentConfig): {
  readonly properties: Readonly<Record<string, readonly string[]>>;
  readonly resources: Readonly<Record<string, number>>;
} {
  const properties: Record<string, string[]> = {};
  for (const line of config.agent.properties) {
    const at = line.indexOf('=');
    (properties[line.slice(0, at)] ??= []).push(line.slice(at + 1));
  }
  const { cores, ram, custom } = config.resources;
  const resources: Record<string, number> = {};
  if (cores !== undefined) resources['cores'] = cores;
  if (ram !== undefined) resources['ram'] = ram;
  for (const line of custom) {
    const [name = '', count] = line.split('=');
    if (name in resources || name === 'cores' || name === 'ram') {
      throw new DroverError({
        code: 'CONFIG_INVALID',
        advice: 'fix-input',
        message: `resources.custom: ${name} stands twice; allowed is each name once, cores and ram by keys of their own`,
      });
    }
    resources[name] = Number(count);
  }
  return { properties, resources };
}
