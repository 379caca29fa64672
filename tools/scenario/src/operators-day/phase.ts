/** One part of the day, with what it found. */
export interface PhaseReport {
  readonly name: string;
  readonly durationMs: number;
  /** Sentences for the log of the day. */
  readonly lines: readonly string[];
  /** What must be true and was not; empty when all is well. */
  readonly faults: readonly string[];
}

/** What a phase says while it goes on and afterwards. */
export interface PhaseNotes {
  /** Adds a sentence. */
  note(line: string): void;
  /** Adds a fault unless `holds`. */
  mustBe(holds: boolean, fault: string): void;
}

/** Runs one part of the day. An error ends the part and is a fault of it. */
export async function runPhase(
  name: string,
  say: (text: string) => void,
  act: (notes: PhaseNotes) => Promise<void>,
): Promise<PhaseReport> {
  const startMs = performance.now();
  const lines: string[] = [];
  const faults: string[] = [];
  say(`${name} …`);
  try {
    await act({
      note(line) {
        lines.push(line);
        say(`  ${line}`);
      },
      mustBe(holds, fault) {
        if (holds) return;
        faults.push(fault);
        say(`  FAULT: ${fault}`);
      },
    });
  } catch (error) {
    const fault = error instanceof Error ? error.message : String(error);
    faults.push(fault);
    say(`  FAULT: ${fault}`);
  }
  return { name, durationMs: performance.now() - startMs, lines, faults };
}
