export { serverPart } from './server-part.ts';
export { conformConfigSchema, type ConformConfig } from './conform-config.ts';
