import type { AgentView, TaskAnswer, TaskSource } from '../task-source.ts';
import { assertThat, type TestRunner } from './test-runner.ts';

/** A source and how to give it work. */
export interface TaskSourceSubject extends AsyncDisposable {
  readonly source: TaskSource;
  /** An agent with a session that the source's store knows, with room for at least four of the source's leases. */
  agent(agentId: string): Promise<AgentView>;
  /** Makes the source have `count` leases that any of these agents may take, committed when it resolves. */
  giveWork(count: number): Promise<void>;
}

/** Cases that every `TaskSource` must pass. `make` is called once for each; its source has no work yet. */
export function taskSourceCompliance(runner: TestRunner & { readonly make: () => Promise<TaskSourceSubject> }): void {
  const { describe, test, make } = runner;
  const ask = (source: TaskSource, agents: readonly AgentView[]): Promise<ReadonlyMap<string, TaskAnswer>> =>
    source.ask(agents, { signal: new AbortController().signal });

  describe('a task source', () => {
    test('has no answer without agents, and none for an agent without work', async () => {
      await using subject = await make();
      assertThat((await ask(subject.source, [])).size === 0, 'nobody was asked for, so nobody gets an answer');
      const agent = await subject.agent('a');
      const answer = (await ask(subject.source, [agent])).get('a');
      assertThat(answer?.kind !== 'assigned' || answer.attempts.length === 0, 'there was no work to assign');
    });

    test('assigns what there is, to the session that it was asked for', async () => {
      await using subject = await make();
      const agent = await subject.agent('a');
      await subject.giveWork(1);
      const [attempt, ...others] = attemptsOf(await ask(subject.source, [agent]));
      assertThat(attempt !== undefined && others.length === 0, 'one lease must make one attempt');
      assertThat(attempt.agentId === 'a' && attempt.epoch === agent.epoch, 'it must be bound to the session asked for');
      assertThat(attempt.attempt >= 1, 'attempts count from 1');
    });

    test('never assigns one lease twice', async () => {
      await using subject = await make();
      const agents = [await subject.agent('a'), await subject.agent('b')];
      await subject.giveWork(3);
      const asked = await Promise.all([ask(subject.source, agents), ask(subject.source, [agents[1]!])]);
      const ids = asked.flatMap(attemptsOf).map(({ leaseId }) => leaseId);
      assertThat(new Set(ids).size === ids.length, 'a lease was assigned twice');
      assertThat(ids.length <= 3, 'more was assigned than there was');
    });

    test('answers only agents that it was asked about', async () => {
      await using subject = await make();
      const agent = await subject.agent('a');
      await subject.giveWork(4);
      for (const [agentId, answer] of await ask(subject.source, [agent])) {
        assertThat(agentId === 'a', `${agentId} was not asked about`);
        if (answer.kind !== 'assigned') continue;
        for (const attempt of answer.attempts) assertThat(attempt.agentId === agentId, 'an attempt is another agent’s');
      }
    });

    test('stops waking when it is told to, once or twice', async () => {
      await using subject = await make();
      const stop = subject.source.onWork?.(() => undefined);
      stop?.();
      stop?.();
      assertThat(/^[a-z][a-z0-9-]{0,63}$/.test(subject.source.name), 'a name is lower-case letters, digits and dashes');
    });
  });
}

function attemptsOf(answers: ReadonlyMap<string, TaskAnswer>) {
  return [...answers.values()].flatMap((answer) => (answer.kind === 'assigned' ? answer.attempts : []));
}
