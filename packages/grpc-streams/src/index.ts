export { encodeEnvelope } from './envelope.ts';
export { EnvelopeReader, type EnvelopeReaderOptions } from './envelope-reader.ts';
export { GuardedSessionManager } from './guarded-session-manager.ts';
export { openBidiCall, type BidiCallOptions, type BidiConnection, type RequestEncoding } from './open-bidi-call.ts';
export { webHeaders } from './web-headers.ts';
