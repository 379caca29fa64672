import { lost } from './agent-lost.ts';
import type { LegacyConnection } from './legacy-connection.ts';
import { runLegacyJob, type LegacyJob, type LegacyJobResult, type LegacyTaskSign } from './run-legacy-job.ts';
import type { StagedOutputs } from './staged-outputs.ts';

/** What running a job on an agent needs. */
export interface RunOnAgentDeps {
  readonly staged: StagedOutputs;
  /** A connection to the agent when it is free. Throws `AGENT_BUSY`, `AGENT_UNREACHABLE`. */
  readonly connect: () => Promise<LegacyConnection>;
  /** Aborted: the agent is asked to stop the job, and its answer waited for. */
  readonly stop: AbortSignal;
  /** Aborted: the connection is closed at once, and the signal's reason thrown. */
  readonly signal: AbortSignal;
}

/** Has an agent run a job on a connection of its own, as {@link runLegacyJob}, for as long as nobody wants it ended. */
export async function* runOnAgent(
  job: LegacyJob,
  { staged, connect, stop, signal }: RunOnAgentDeps,
): AsyncGenerator<LegacyTaskSign, LegacyJobResult, undefined> {
  const onStop = (): void => connection?.stop();
  const onAbort = (): void => connection?.fail(lost('the call was ended'));
  let connection: LegacyConnection | undefined;
  try {
    connection = await connect();
    // An agent of which the connection is closed before a word was said takes the next one.
    if (stop.aborted) return { end: 'stopped', tasks: new Map(), outputs: new Map() };
    stop.addEventListener('abort', onStop);
    signal.addEventListener('abort', onAbort);
    signal.throwIfAborted();
    return yield* runLegacyJob(job, connection, staged);
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  } finally {
    stop.removeEventListener('abort', onStop);
    signal.removeEventListener('abort', onAbort);
    connection?.[Symbol.dispose]();
  }
}
