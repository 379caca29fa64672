import type { MessageInitShape } from '@bufbuild/protobuf';
import type { BlobDigest } from '@drover/lease-protocol';
import type { FoundAgent } from './found-agent.ts';
import type { AddTasksSchema, BeginJobSchema, RunJobResponse } from './gen/drover/herd/v1/herd_service_pb.ts';

/** A file on the client's side, read when an agent has not got it. */
export interface LocalFile {
  /** Path in the job's folder. */
  readonly path: string;
  /** Absolute path here. */
  readonly source: string;
  readonly digest: BlobDigest;
  readonly executable: boolean;
}

/** Reaches agents, by Drover's protocol or by the original one. */
export interface HerdConnector {
  /** True for agents whose protocol it speaks. */
  speaksTo(agent: FoundAgent): boolean;
  /**
   * Connects. Throws `AGENT_UNREACHABLE`, `NOT_PAIRED`, `AGENT_NOT_TRUSTED` (another certificate than it was paired with);
   * an abort throws the signal's reason.
   */
  connect(agent: FoundAgent, signal: AbortSignal): Promise<HerdAgentLink>;
}

/** A connection to one agent. Disposing closes it; a job of it goes on for the agent's grace. */
export interface HerdAgentLink extends AsyncDisposable {
  readonly agent: FoundAgent;
  /** Sends the files that the agent has not got, each content once. Answers how many bytes were sent. */
  send(files: readonly LocalFile[], signal: AbortSignal): Promise<{ readonly sentBytes: number }>;
  /** Begins a job. Its inputs were sent before. */
  begin(job: MessageInitShape<typeof BeginJobSchema>, signal: AbortSignal): Promise<HerdJobCall>;
  /** Brings a file here under a temporary name beside `target`, then renames it; throws `BLOB_NOT_FOUND`, `DIGEST_MISMATCH`. */
  receive(digest: BlobDigest, target: string, signal: AbortSignal): Promise<void>;
}

/** A job on an agent, as the client sees it. */
export interface HerdJobCall {
  /** At most as many as the credits that came, or `TASKS_BEYOND_CREDITS` is thrown. */
  add(tasks: MessageInitShape<typeof AddTasksSchema>): void;
  /** Names, or all. An agent of the original protocol can only end all. */
  cancel(tasks?: readonly string[]): void;
  finish(): void;
  /** To `job_ended`. Throws `AGENT_LOST` when it cannot be reached for the grace: tasks without an end may have run. */
  readonly responses: AsyncIterable<RunJobResponse>;
}
