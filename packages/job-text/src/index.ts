export { confinedPath, type ConfinedPath } from './confined-path.ts';
export { parseYaml, type ParseYamlOptions, type ParsedYaml } from './parse-yaml.ts';
export { pathText, type TextPath } from './path-text.ts';
export { durationMs, durationText, sizeBytes, sizeText } from './quantities.ts';
export { textFaults } from './text-faults.ts';
