import { countWord } from '../output/words.ts';
import type { HerdJob, HerdJobEvent } from '@drover/herd-service/client';
import { styleText } from 'node:util';
import type { LiveDisplay } from '../output/live-display.ts';
import { printable } from '../output/print-table.ts';
import { bytesText } from '../output/words.ts';

const barWidth = 24;
const drawEveryMs = 100;

/** Where and how a job's progress is shown. */
export interface HerdProgressOptions {
  readonly display: LiveDisplay;
  readonly columns: () => number;
  /** Most bars at once, beside the one of the whole job. */
  readonly barsMax: () => number;
}

interface RunningTask {
  readonly agent: string;
  percent: number;
}

/** A bar for each task that runs and one for the job; messages scroll above them. */
export class HerdProgress {
  readonly #options: HerdProgressOptions;
  readonly #total: number;
  readonly #running = new Map<string, RunningTask>();
  #ended = 0;
  #failed = 0;
  #agents = 0;
  #outputs = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(job: HerdJob, options: HerdProgressOptions) {
    this.#options = options;
    this.#total = job.tasks.length;
  }

  /** Takes an event of the job. */
  show(event: HerdJobEvent): void {
    switch (event.kind) {
      case 'agent-began': {
        this.#agents += 1;
        const sent = event.sentBytes === 0 ? 'had all files' : `got ${bytesText(event.sentBytes)}`;
        this.#print(styleText('dim', `${printable(event.agent)} ${sent}, ${event.slots} slots`));
        break;
      }
      case 'agent-gone': {
        const { agent, code, message } = event;
        // What an agent says of itself does not name it.
        const who = message.includes(agent) ? '' : `${agent}: `;
        this.#print(styleText('yellow', `${printable(who + message)} (${code})`));
        break;
      }
      case 'task-started':
        this.#running.set(event.task, { agent: event.agent, percent: 0 });
        break;
      case 'task-progress': {
        const task = this.#running.get(event.task);
        if (task !== undefined) task.percent = event.percent;
        break;
      }
      case 'task-message':
        this.#say(event.task, event.isError ? styleText('red', printable(event.text)) : printable(event.text));
        break;
      case 'task-dropped':
        this.#say(event.task, styleText('dim', `${event.items} items left out: it wrote too fast`));
        break;
      case 'task-again':
        this.#running.delete(event.task);
        this.#say(event.task, styleText('yellow', `runs again: ${printable(event.why)}`));
        break;
      case 'task-ended': {
        this.#running.delete(event.result.name);
        this.#ended += 1;
        if (event.result.outcome !== 'succeeded') this.#failed += 1;
        break;
      }
      case 'output':
        this.#outputs += 1;
        break;
      case 'task-evaluation':
        // For programs that plot; it is in none of the bars.
        return;
    }
    // Drawing for each of a thousand events would be most of the work.
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#draw();
    }, drawEveryMs);
  }

  /** Tells something of an agent. */
  note(agent: string, text: string): void {
    this.#print(styleText('yellow', `${printable(agent)}: ${printable(text)}`));
  }

  /** Takes the bars away. */
  end(): void {
    clearTimeout(this.#timer);
    this.#options.display.end();
  }

  #draw(): void {
    const shown = [...this.#running].slice(0, this.#options.barsMax());
    const more = this.#running.size - shown.length;
    const lines = shown.map(([name, { agent, percent }]) => this.#line(name, percent, `on ${agent}`));
    if (more > 0) lines.push(styleText('dim', `and ${more} more that run`));
    const done = `${Math.min(this.#ended, this.#total)} of ${this.#total} tasks`;
    const failed = this.#failed === 0 ? '' : `, ${this.#failed} did not succeed`;
    const outputs = this.#outputs === 0 ? '' : `, ${countWord(this.#outputs, 'output')}`;
    const text = `${done}${failed}${outputs}, ${countWord(this.#agents, 'agent')}`;
    lines.push(this.#line('all', (100 * Math.min(this.#ended, this.#total)) / Math.max(1, this.#total), text));
    this.#options.display.status(lines);
  }

  #line(name: string, percent: number, text: string): string {
    const filled = Math.round((percent / 100) * barWidth);
    const bar = '━'.repeat(filled) + styleText('dim', '━'.repeat(barWidth - filled));
    const shown = printable(name).slice(0, 24).padEnd(16);
    const room = Math.max(10, this.#options.columns() - shown.length - barWidth - 10);
    return `${shown} ${bar} ${String(Math.floor(percent)).padStart(3)} %  ${printable(text).slice(0, room)}`;
  }

  #say(task: string, text: string): void {
    this.#print(`${styleText('cyan', `${printable(task).padEnd(10)} │`)} ${text}`);
  }

  #print(line: string): void {
    this.#options.display.print([line]);
  }
}
