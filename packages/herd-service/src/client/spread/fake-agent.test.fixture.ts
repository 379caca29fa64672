import { create, type MessageInitShape } from '@bufbuild/protobuf';
import {
  HerdTaskSchema,
  JobEnd,
  RunJobResponseSchema,
  TaskEnd,
  type BeginJobSchema,
  type FoundAgent,
  type HerdAgentLink,
  type HerdConnector,
  type HerdJobCall,
  type HerdTask,
  type LocalFile,
  type RunJobResponse,
} from '@drover/herd-protocol';
import { DroverError } from '@drover/lease-kit';
import { writeFile } from 'node:fs/promises';
import { PushQueue } from '../connector/push-queue.ts';

type Message = MessageInitShape<typeof RunJobResponseSchema>['message'];

/** How a fake agent behaves. */
export interface FakeAgentOptions {
  readonly slots?: number;
  /** Credits at the beginning. Default: the slots. */
  readonly credits?: number;
  /** What a task does; absent: it succeeds at once. Answers how it ended. Outputs are `content of PATH` of the agent. */
  readonly work?: (task: HerdTask, agent: FakeAgent) => Promise<TaskEnd> | TaskEnd;
  /** What an output holds; undefined: it is missing. */
  readonly output?: (path: string, task: string | undefined) => string | undefined;
  readonly connect?: () => Promise<void>;
  readonly begin?: () => Promise<void>;
}

/** An agent that holds its client to every rule of the contract. */
export class FakeAgent implements HerdConnector {
  readonly agent: FoundAgent;
  readonly ran: string[] = [];
  readonly sent = new Map<string, number>();
  readonly received: string[] = [];
  begins = 0;
  finishes = 0;
  isClosed = false;
  cancelled: (readonly string[] | undefined)[] = [];
  readonly #options: FakeAgentOptions;
  #responses: PushQueue<RunJobResponse | Error> = new PushQueue();
  #sequence = 0n;
  #credits = 0;
  #running = 0;
  /** Tasks that have ended and whose outputs were not told. */
  #answering = 0;
  readonly #waiting: HerdTask[] = [];
  readonly #names = new Set<string>();
  readonly #blobs = new Map<string, string>();
  #isLost = false;
  #isOver = false;
  #isFinished = false;
  #outputs: readonly string[] = [];

  constructor(name: string, options: FakeAgentOptions = {}) {
    this.#options = options;
    this.agent = {
      agentId: `id-${name}`,
      protocol: 'drover',
      name,
      addresses: [{ host: '192.0.2.1', port: 1 }],
      availability: 'available',
      version: '0',
      architecture: 'linux-x64',
      processors: 2,
      slots: { total: this.slots, free: this.slots },
      ram: { total: 1, free: 1 },
      load: 0,
      gpus: [],
      pools: [],
      trusted: true,
    };
  }

  get slots(): number {
    return this.#options.slots ?? 1;
  }

  speaksTo(agent: FoundAgent): boolean {
    return agent === this.agent;
  }

  async connect(): Promise<HerdAgentLink> {
    await this.#options.connect?.();
    return {
      agent: this.agent,
      send: (files) => this.#send(files),
      begin: (job) => this.#begin(job),
      receive: async (digest, target) => {
        const text = this.#blobs.get(digest.hash);
        if (this.#isLost) throw new DroverError({ code: 'RPC_UNAVAILABLE', advice: 'unavailable', message: 'gone' });
        if (text === undefined) throw new DroverError({ code: 'BLOB_NOT_FOUND', advice: 'not-found', message: 'no' });
        await writeFile(target, text);
        this.received.push(target);
      },
      [Symbol.asyncDispose]: async () => void (this.isClosed = true),
    };
  }

  /** The agent goes away: the client hears of it as it would after the grace. */
  lose(): void {
    this.#isLost = true;
    const lost = new DroverError({ code: 'AGENT_LOST', advice: 'unavailable', message: `${this.agent.name} is lost` });
    this.#responses.push(lost);
  }

  /** Somebody else cancels the job here. */
  cancelFromElsewhere(): void {
    this.#cancel(undefined);
  }

  tell(message: Message): void {
    if (this.#isLost || this.#isOver) return;
    this.#responses.push(create(RunJobResponseSchema, { sequence: ++this.#sequence, message: message! }));
  }

  async #send(files: readonly LocalFile[]): Promise<{ sentBytes: number }> {
    let sentBytes = 0;
    for (const { digest } of files) {
      if (this.sent.has(digest.hash)) continue;
      this.sent.set(digest.hash, Number(digest.sizeBytes));
      sentBytes += Number(digest.sizeBytes);
    }
    return { sentBytes };
  }

  async #begin(job: MessageInitShape<typeof BeginJobSchema>): Promise<HerdJobCall> {
    this.begins += 1;
    await this.#options.begin?.();
    for (const input of job.inputs ?? []) this.#mustHave(input.digest?.hash);
    this.#outputs = job.outputs ?? [];
    this.tell({ case: 'begun', value: { slotsTotal: this.slots } });
    this.#grant(this.#options.credits ?? this.slots);
    return {
      add: ({ tasks = [] }) => this.#add(tasks.map((task) => create(HerdTaskSchema, task))),
      cancel: (tasks) => this.#cancel(tasks),
      finish: () => {
        this.finishes += 1;
        this.#isFinished = true;
        this.#endIfDone();
      },
      responses: this.#read(),
    };
  }

  async *#read(): AsyncGenerator<RunJobResponse> {
    for await (const response of this.#responses) {
      if (response instanceof Error) throw response;
      yield response;
      if (response.message.case === 'jobEnded') return;
    }
  }

  #grant(tasks: number): void {
    this.#credits += tasks;
    this.tell({ case: 'credits', value: { tasks } });
  }

  #add(tasks: readonly HerdTask[]): void {
    if (this.#isFinished) throw new Error('a task was added after finish');
    if (tasks.length > this.#credits) throw new Error(`${tasks.length} tasks beyond ${this.#credits} credits`);
    this.#credits -= tasks.length;
    for (const task of tasks) {
      if (this.#names.has(task.name)) throw new Error(`${task.name} was added twice`);
      this.#names.add(task.name);
      for (const input of task.inputs) this.#mustHave(input.digest?.hash);
      this.#waiting.push(task);
    }
    this.#startNext();
  }

  #startNext(): void {
    while (this.#running < this.slots && this.#waiting.length > 0) {
      this.#running += 1;
      void this.#run(this.#waiting.shift()!);
    }
  }

  async #run(task: HerdTask): Promise<void> {
    this.ran.push(task.name);
    this.tell({ case: 'started', value: { task: task.name } });
    await new Promise(setImmediate);
    const end = (await this.#options.work?.(task, this)) ?? TaskEnd.SUCCEEDED;
    this.#running -= 1;
    this.#end(task, end);
    this.#grant(1);
    this.#startNext();
    // Outputs are looked for after the end is told, and come in a later turn: at times as the last thing of all.
    this.#answering += 1;
    for (let turn = 0; turn < 3; turn++) await new Promise(setImmediate);
    for (const path of task.outputs) this.#answer(path, task.name);
    this.#answering -= 1;
    this.#endIfDone();
  }

  #end(task: HerdTask, end: TaskEnd): void {
    const exitCode = end === TaskEnd.SUCCEEDED ? 0 : 1;
    this.tell({
      case: 'ended',
      value: { task: task.name, end, exitCode, logTail: Buffer.from(`log of ${task.name}`) },
    });
  }

  #answer(path: string, task: string | undefined): void {
    const text = this.#options.output === undefined ? `content of ${path}` : this.#options.output(path, task);
    const more = task === undefined ? {} : { task };
    if (text === undefined) {
      this.tell({ case: 'missing', value: { path, code: 'OUTPUT_NOT_FOUND', message: 'is not there', ...more } });
      return;
    }
    const hash = Buffer.from(text).toString('hex').padEnd(64, '0').slice(0, 64);
    this.#blobs.set(hash, text);
    this.tell({ case: 'output', value: { file: { path, digest: { hash, sizeBytes: BigInt(text.length) } }, ...more } });
  }

  #cancel(tasks: readonly string[] | undefined): void {
    this.cancelled.push(tasks);
    const isMeant = (task: HerdTask): boolean => tasks === undefined || tasks.includes(task.name);
    for (const task of this.#waiting.filter(isMeant)) {
      this.#end(task, TaskEnd.CANCELLED);
      for (const path of task.outputs) this.#answer(path, task.name);
    }
    const rest = this.#waiting.filter((task) => !isMeant(task));
    this.#waiting.splice(0, this.#waiting.length, ...rest);
    if (tasks !== undefined) return;
    this.tell({ case: 'jobEnded', value: { end: JobEnd.CANCELLED } });
    this.#isOver = true;
  }

  #endIfDone(): void {
    if (!this.#isFinished || this.#running + this.#answering > 0 || this.#waiting.length > 0 || this.#isOver) return;
    for (const path of this.#outputs) this.#answer(path, undefined);
    this.tell({ case: 'jobEnded', value: { end: JobEnd.COMPLETED } });
    this.#isOver = true;
  }

  #mustHave(hash: string | undefined): void {
    if (hash === undefined || !this.sent.has(hash)) throw new Error('an input was not sent before it is needed');
  }
}
