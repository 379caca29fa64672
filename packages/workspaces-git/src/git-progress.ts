/** A part of a sync: from which percent to which, and what people read. */
export interface GitStage {
  readonly from: number;
  readonly to: number;
  readonly message: string;
}

/** What git counts while it works, and how far into the stage that begins; fetching is bytes first, then deltas. */
const counters: readonly { readonly name: RegExp; readonly from: number; readonly to: number }[] = [
  { name: /Receiving objects/, from: 0, to: 0.8 },
  { name: /Resolving deltas/, from: 0.8, to: 1 },
  { name: /Unpacking objects/, from: 0, to: 1 },
  { name: /Updating files/, from: 0, to: 1 },
];

/** Turns what git writes to standard error into percents of a sync that never go back. */
export class GitProgress {
  readonly #report: (percent: number, message: string) => void;
  #stage: GitStage = { from: 0, to: 0, message: '' };
  #rest = '';
  #last = 0;

  constructor(report: (percent: number, message: string) => void = () => undefined) {
    this.#report = report;
  }

  /** A stage begins. */
  enter(stage: GitStage): void {
    this.#stage = stage;
    this.#rest = '';
    this.#tell(stage.from);
  }

  /** Reads what git writes. */
  read(bytes: Buffer): void {
    // Lines end in a carriage return while a counter goes up; a line without an end is kept short.
    const lines = (this.#rest + bytes.toString('latin1')).split(/[\r\n]/);
    this.#rest = (lines.pop() ?? '').slice(-512);
    for (const line of lines) {
      const [, name = '', percent] = /([A-Z][a-z]+ [a-z]+):\s+(\d{1,3})%/.exec(line) ?? [];
      const counter = counters.find((one) => one.name.test(name));
      if (counter === undefined) continue;
      const { from, to } = this.#stage;
      const share = counter.from + ((counter.to - counter.from) * Math.min(100, Number(percent))) / 100;
      this.#tell(from + (to - from) * share);
    }
  }

  #tell(percent: number): void {
    const whole = Math.floor(percent);
    if (whole < this.#last) return;
    this.#last = whole;
    this.#report(whole, this.#stage.message);
  }
}
