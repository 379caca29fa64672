/** A piece of a command line that names a file, absolute or not. */
export interface ArgumentPath {
  readonly text: string;
  /** Where it begins in its argument. */
  readonly start: number;
  /** It is only compared with others, or put in their place: nothing is read or written there. */
  readonly isText: boolean;
}

/** Options whose value is text for the source or a rule of make, and no file: joined, or in the next argument. */
const textOptions = ['-D', '-U', '-MT', '-MQ'];
/** Options that may have a path straight behind them, the longest first. */
const joined =
  /^(?:--?(?:include-directory|isystem|iquote|idirafter|iprefix|isysroot|imacros|include|iwithprefixbefore|iwithprefix|MF|MD|MMD)|-[IoLBF])(?==?[./\w])=?/;

/** What maps names in debug information and macros: the name that is looked for stands first. */
const prefixMap =
  /^-f(?:file|debug|macro|profile|coverage)-prefix-map=|^-f(?:file|debug|macro|profile)?-?compilation-dir=/;

/** True for an option that only says how files are called. */
export function isPrefixMap(argument: string): boolean {
  return prefixMap.test(argument);
}

/** The paths that each argument holds, the compiler's own left out; `undefined` for those that hold text alone. */
export function pathsOfArguments(args: readonly string[]): readonly (readonly ArgumentPath[])[] {
  return args.map((argument, index) => {
    if (index === 0 || textOptions.includes(args[index - 1]!)) return [];
    if (textOptions.some((option) => argument.startsWith(option))) return [];
    return pathsOf(argument);
  });
}

function pathsOf(argument: string): ArgumentPath[] {
  if (isPrefixMap(argument)) {
    const start = argument.indexOf('=') + 1;
    const text = argument.slice(start).split('=')[0]!;
    return [{ text, start, isText: true }];
  }
  const begin = argument.startsWith('-') ? (joined.exec(argument)?.[0].length ?? 0) : 0;
  const found: ArgumentPath[] = [];
  let start = begin;
  // What options like -Wp,-MD,FILE and -ffile-prefix-map=FROM=TO hold stands behind a comma or an equals sign.
  for (const part of argument.slice(begin).split(/[=,]/)) {
    const isOption = part.startsWith('-') && start === 0;
    const inner = part.startsWith('-') ? (joined.exec(part)?.[0].length ?? 0) : 0;
    const text = part.slice(inner);
    if (text !== '' && (!isOption || inner > 0) && (text.includes('/') || text.split('/').includes('..'))) {
      found.push({ text, start: start + inner, isText: false });
    }
    start += part.length + 1;
  }
  return found;
}
