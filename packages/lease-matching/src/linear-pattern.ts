import { parsePattern, type CharacterSet, type PatternNode } from './internal/parse-pattern.ts';
import { patternInvalid } from './internal/pattern-invalid.ts';

/** Longest pattern, in UTF-16 code units. */
export const patternLengthMax = 256;
/** Most instructions that a pattern may compile to; `{n,m}` repeats its operand. It bounds one step of a match. */
export const patternInstructionsMax = 512;

/** A compiled pattern. */
export interface LinearPattern {
  /** True if the pattern is found anywhere in `text`, without regard to case. At most text length × instructions steps. */
  matches(text: string): boolean;
}

type Instruction =
  | { readonly op: 'character'; readonly set: CharacterSet }
  | { readonly op: 'start' | 'end' | 'match' }
  | { readonly op: 'split'; first: number; second: number }
  | { readonly op: 'jump'; to: number };

/**
 * Compiles a regular expression that is matched in time linear in the text, whatever the pattern, since patterns come
 * from users and are tried against every agent: an automaton that follows all alternatives at once (Thompson, "Regular
 * Expression Search Algorithm", 1968), never by backtracking.
 *
 * Understood: literals, `.` (any character), `[a-z]` `[^a-z]`, `\d \D \w \W \s \S` (ASCII), `\` before punctuation,
 * `( )` and `(?: )`, `|`, `* + ?`, `{n}` `{n,}` `{n,m}`, `^` and `$` (start and end of the value). Not understood, because
 * no automaton can: back references and look-around; nor lazy quantifiers, which make no difference to a yes or no.
 *
 * Throws `PATTERN_INVALID` (details `problem`, `allowed`).
 */
export function linearPattern(source: string): LinearPattern {
  if (source.length > patternLengthMax) {
    throw patternInvalid(source, `the pattern has ${source.length} characters`, `at most ${patternLengthMax}`);
  }
  const program = compile(source, parsePattern(source));
  return { matches: (text) => run(program, text) };
}

function compile(source: string, root: PatternNode): readonly Instruction[] {
  const program: Instruction[] = [];
  const tooLarge = (): never => {
    throw patternInvalid(
      source,
      'the pattern is too large with its repetitions written out',
      `at most ${patternInstructionsMax} steps`,
    );
  };
  const emit = <T extends Instruction>(instruction: T): T => {
    if (program.length >= patternInstructionsMax) tooLarge();
    program.push(instruction);
    return instruction;
  };
  const split = () => emit({ op: 'split', first: program.length + 1, second: program.length + 1 });

  const optional = (node: PatternNode): void => {
    const choice = split();
    visit(node);
    choice.second = program.length;
  };
  const star = (node: PatternNode): void => {
    const start = program.length;
    const choice = split();
    visit(node);
    emit({ op: 'jump', to: start });
    choice.second = program.length;
  };
  let visits = 0;
  const visit = (node: PatternNode): void => {
    // Repetitions of nothing emit nothing, yet `((){100}){100}` would visit it 10,000 times.
    if (++visits > patternInstructionsMax * 4) tooLarge();
    switch (node.kind) {
      case 'set':
        emit({ op: 'character', set: node.set });
        return;
      case 'start':
      case 'end':
        emit({ op: node.kind });
        return;
      case 'sequence':
        node.nodes.forEach(visit);
        return;
      case 'choice': {
        const jumps: { op: 'jump'; to: number }[] = [];
        node.nodes.forEach((alternative, index) => {
          if (index === node.nodes.length - 1) return visit(alternative);
          const choice = split();
          visit(alternative);
          jumps.push(emit({ op: 'jump', to: 0 }));
          choice.second = program.length;
        });
        for (const jump of jumps) jump.to = program.length;
        return;
      }
      case 'repeat':
        for (let count = 0; count < node.min; count++) visit(node.node);
        if (node.max === undefined) star(node.node);
        else for (let count = node.min; count < node.max; count++) optional(node.node);
        return;
    }
  };
  visit(root);
  emit({ op: 'match' });
  return program;
}

function run(program: readonly Instruction[], text: string): boolean {
  const characters = Array.from(text);
  // The step at which an instruction was last reached: each is followed once a step, which is what makes this linear.
  const reachedAt = new Int32Array(program.length).fill(-1);
  let waiting: number[] = [];

  for (let at = 0; at <= characters.length; at++) {
    const character = characters[at];
    const following: number[] = [];
    const pending = waiting;
    pending.push(0); // The pattern may begin at every character.
    while (pending.length > 0) {
      const index = pending.pop() as number;
      if (reachedAt[index] === at) continue;
      reachedAt[index] = at;
      const instruction = program[index] as Instruction;
      switch (instruction.op) {
        case 'match':
          return true;
        case 'jump':
          pending.push(instruction.to);
          break;
        case 'split':
          pending.push(instruction.second, instruction.first);
          break;
        case 'start':
          if (at === 0) pending.push(index + 1);
          break;
        case 'end':
          if (at === characters.length) pending.push(index + 1);
          break;
        case 'character':
          if (character !== undefined && contains(instruction.set, character)) following.push(index + 1);
          break;
      }
    }
    waiting = following;
  }
  return false;
}

function contains(set: CharacterSet, character: string): boolean {
  return inRanges(set, character) !== set.negated;
}

function inRanges(set: CharacterSet, character: string): boolean {
  for (const variant of new Set([character, character.toLowerCase(), character.toUpperCase()])) {
    const code = variant.codePointAt(0) ?? 0;
    // A case variant of several characters ("ß" → "SS") is not a variant of this one.
    if (variant.length !== String.fromCodePoint(code).length) continue;
    if (set.ranges.some(([from, to]) => code >= from && code <= to)) return true;
  }
  return false;
}
