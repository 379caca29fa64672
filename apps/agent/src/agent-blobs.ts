import { collectBytes, type ContentStore } from '@drover/content-store';
import type { AgentBlobs } from '@drover/lease-agent';

/** The content store as an agent uses it for large payloads and outputs. */
export function agentBlobsFrom(content: ContentStore): AgentBlobs {
  return {
    read: (blob, signal) => collectBytes(content.read(blob, { signal }), blob.sizeBytes),
    write: (blob, bytes, signal) => content.write(blob, bytes, { signal }),
  };
}
