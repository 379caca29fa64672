import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';

/** A task as it came. */
export interface ReceivedTask {
  readonly name: string;
  readonly exe: string;
  readonly arguments: string;
  readonly pipe: string;
}

/** A job as it came. */
export interface ReceivedJob {
  readonly name: string;
  readonly tasks: readonly ReceivedTask[];
  readonly inputs: ReadonlyMap<string, string>;
  readonly outputs: readonly string[];
}

/** What a job's run may do. */
export interface JobRun {
  readonly job: ReceivedJob;
  /** Sends text in one write each. */
  say(...parts: readonly string[]): Promise<void>;
  /** What came since the job, as an agent polls it between items. */
  heard(): string;
  /** Resolves when the client has said something, or is gone. */
  untilHeard(): Promise<void>;
  /** Closes the connection in the middle. */
  hangUp(): void;
}

/** How an agent behaves. */
export interface OriginalAgentOptions {
  /** IPv4 address of loopback, of its own: replies come from it. */
  readonly host: string;
  /** Text of its reply, or no answer. Default: that of an agent with two processors, with its state. */
  readonly describe?: (state: 'available' | 'busy') => string | undefined;
  /** Runs a job, up to but without its results. Answers the outputs that exist, or that there are no results. */
  readonly run: (run: JobRun) => Promise<ReadonlyMap<string, string> | 'no results'>;
}

/** The reply of an agent of the original protocol on Linux. */
export function descriptionOf(state: string, architecture = 'Linux-64', cores = 2): string {
  return `<HerdAgent><HerdAgentVersion>1.5.0.0</HerdAgentVersion><ProccesorId>00000000-0000-0000-0000-000000000000</ProccesorId><NumCPUCores>${cores}</NumCPUCores><Architecture>${architecture}</Architecture><ProcessorLoad>8.522391</ProcessorLoad><Memory>24106Mb</Memory><CUDA>N/A</CUDA><State>${state}</State></HerdAgent>`;
}

/**
 * An agent as the original one behaves, with plain sockets and strings, and nothing of Drover's reader or writer: it scans one
 * buffer with regular expressions, looks for the first message in what its first read brings, and serves one connection at a
 * time. Where the original one goes round for ever, it keeps a fault in `faults`, which a test expects to be empty.
 */
export class OriginalAgent implements AsyncDisposable {
  readonly host: string;
  /** What clients did that the original agent does not survive. */
  readonly faults: string[] = [];
  /** All bytes of each connection, in order. */
  readonly received: string[] = [];
  readonly #options: OriginalAgentOptions;
  readonly #udp: UdpSocket = createSocket('udp4');
  readonly #tcp: Server;
  readonly #sockets = new Set<Socket>();
  #state: 'available' | 'busy' = 'available';
  #line: Promise<void> = Promise.resolve();

  private constructor(options: OriginalAgentOptions) {
    this.host = options.host;
    this.#options = options;
    this.#tcp = createServer({ pauseOnConnect: true }, (socket) => {
      this.#sockets.add(socket);
      socket.on('error', () => undefined);
      // The next one is not accepted before the job is over.
      this.#line = this.#line.then(() => this.#serve(socket));
    });
    this.#udp.on('message', (bytes, { address, port }) => {
      if (bytes.toString('latin1') !== 'Slaves, show yourselves!') return;
      const text = (options.describe ?? descriptionOf)(this.#state);
      if (text !== undefined) this.#udp.send(text, port, address);
    });
  }

  static async start(options: OriginalAgentOptions): Promise<OriginalAgent> {
    const agent = new OriginalAgent(options);
    agent.#udp.bind({ address: options.host, port: 0, exclusive: true });
    agent.#tcp.listen(0, options.host);
    await Promise.all([once(agent.#udp, 'listening'), once(agent.#tcp, 'listening')]);
    return agent;
  }

  get discoveryPort(): number {
    return this.#udp.address().port;
  }

  get jobPort(): number {
    return (this.#tcp.address() as AddressInfo).port;
  }

  /** Says `busy` until it has served somebody. */
  beBusy(): void {
    this.#state = 'busy';
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#tcp.close();
    await once(this.#tcp, 'close');
    await this.#line;
    this.#udp.close();
    await once(this.#udp, 'close');
  }

  async #serve(socket: Socket): Promise<void> {
    this.#state = 'busy';
    const at = this.received.push('') - 1;
    let buffer = '';
    let wake = (): void => undefined;
    let reads = 0;
    socket.on('data', (bytes: Buffer) => {
      reads += 1;
      this.received[at] += bytes.toString('latin1');
      buffer += bytes.toString('latin1');
      wake();
    });
    socket.on('close', () => wake());
    socket.resume();
    const more = async (): Promise<boolean> => {
      const before = reads;
      while (reads === before && !socket.destroyed) await new Promise<void>((resolve) => (wake = resolve));
      return reads > before;
    };
    /** The next tag that fits; others are passed over, as the original agent does in search of a header. */
    const tag = async (pattern: RegExp): Promise<RegExpExecArray | undefined> => {
      for (;;) {
        const found = /<([^>]*)>/.exec(buffer);
        if (found === null) {
          if (await more()) continue;
          this.faults.push(`the connection ended where ${pattern.source} is due`);
          return undefined;
        }
        buffer = buffer.slice(found.index + found[0].length);
        const match = new RegExp(`^${pattern.source}$`).exec(found[0]);
        if (match !== null) return match;
        this.faults.push(`unexpected ${found[0]} where ${pattern.source} is due`);
      }
    };
    const say = async (...parts: readonly string[]): Promise<void> => {
      for (const part of parts) {
        if (socket.destroyed) return;
        await new Promise<void>((resolve) => socket.write(Buffer.from(part, 'latin1'), () => resolve()));
      }
    };
    const end = (): void => {
      socket.end();
      this.#state = 'available';
    };

    if (!(await more())) return end();
    // One read, and no second look.
    const first = /<([^>]*)>.*?<\/\1>/.exec(buffer);
    if (first?.[0] !== '<Internal>You are mine now!</Internal>') {
      this.faults.push(`the first read was ${JSON.stringify(buffer.slice(0, 100))}`);
      return end();
    }
    buffer = buffer.slice(first.index + first[0].length);
    const job = await this.#receiveJob(tag, more, {
      peek: () => buffer,
      take: (count) => {
        const taken = buffer.slice(0, count);
        buffer = buffer.slice(count);
        return taken;
      },
    });
    if (job === undefined) return end();
    const outputs = await this.#options.run({
      job,
      say,
      heard: () => buffer,
      untilHeard: async () => {
        if (buffer === '') await more();
      },
      hangUp: () => socket.destroy(),
    });
    if (outputs !== 'no results') {
      await say('<Internal>Job finished correctly</Internal>', `<Job Name="${job.name}">`);
      for (const [name, bytes] of outputs)
        await say(`<Output Name="${name}" Size="${bytes.length}">`, bytes, '</Output>');
      await say('</Job>');
    }
    end();
  }

  async #receiveJob(
    tag: (pattern: RegExp) => Promise<RegExpExecArray | undefined>,
    more: () => Promise<boolean>,
    buffer: { peek(): string; take(count: number): string },
  ): Promise<ReceivedJob | undefined> {
    const header = await tag(/<Job Name="([^"]*)">/);
    if (header === undefined) return undefined;
    const job = {
      name: header[1]!,
      tasks: [] as ReceivedTask[],
      inputs: new Map<string, string>(),
      outputs: [] as string[],
    };
    for (;;) {
      const kind = /<([^\s>]*)[^>]*>/.exec(buffer.peek())?.[1];
      if (kind === undefined) {
        if (await more()) continue;
        this.faults.push('the connection ended within the job');
        return undefined;
      }
      if (kind === '/Job') {
        await tag(/<\/Job>/);
        return job;
      }
      if (kind === 'Task') {
        const task = await tag(
          /<Task Name="([^"]*)" Exe="([^"]*)" Arguments="([^"]*)" Pipe="([^"]*)"( AuthenticationToken="([^"]*)")?\/>/,
        );
        if (task === undefined) return undefined;
        job.tasks.push({ name: task[1]!, exe: task[2]!, arguments: task[3]!, pipe: task[4]! });
      } else if (kind === 'Input') {
        const input = await tag(/<(Input|Output) Name="([^"]*)" Size="([^"]*)">/);
        if (input === undefined) return undefined;
        const size = Number(input[3]);
        while (buffer.peek().length < size) {
          if (await more()) continue;
          this.faults.push(`the connection ended within ${input[2]}`);
          return undefined;
        }
        job.inputs.set(input[2]!, buffer.take(size));
        if ((await tag(/<\/(Input|Output)>/)) === undefined) return undefined;
      } else if (kind === 'Output') {
        const output = await tag(/<(Input|Output) Name="([^"]*)"\/>/);
        if (output === undefined) return undefined;
        job.outputs.push(output[2]!);
      } else {
        this.faults.push(`<${kind}> within a job makes the original agent go round for ever`);
        return undefined;
      }
    }
  }
}
