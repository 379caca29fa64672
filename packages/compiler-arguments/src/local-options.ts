import type { CommandWord } from './command-words.ts';
import type { LocalReason } from './local-reasons.ts';

type Rule = readonly [pattern: RegExp, reason: LocalReason];

/** Options that keep a compile on this machine, in the order in which they are looked at. */
const rules: readonly Rule[] = [
  [
    /^(--version|--help|--help=|--target-help|-v|-###|-Q|-dumpversion|-dumpmachine|-dumpspecs|-dumpfullversion)$/,
    'QUERY',
  ],
  [/^--?print-/, 'QUERY'],
  [/^-E$/, 'PREPROCESSES_ONLY'],
  [/^-MM?$/, 'PREPROCESSES_ONLY'],
  [/^-fsyntax-only$/, 'CHECKS_ONLY'],
  [/^(--analyze|-Xanalyzer)$/, 'CHECKS_ONLY'],
  [/^-save-temps(=|$)/, 'EXTRA_OUTPUT'],
  [/^--save-temps/, 'EXTRA_OUTPUT'],
  [/^-f(plugin|pass-plugin)/, 'PLUGIN'],
  [/^(-Xclang|-mllvm|-mmlir|-wrapper|-specs=|-specs|--specs=|-B|-ftree-vectorizer-verbose=)$/, 'PLUGIN'],
  [/^-fmodule|^-fcxx-modules|^-fno-implicit-module|^-fprebuilt-module|^-fbuiltin-module|^--precompile$/, 'MODULES'],
  [/^(-include-pch|-fpch-.*|-emit-pch)$/, 'PRECOMPILED_HEADER'],
  [
    /^-f(auto-profile|branch-probabilities|profile-|no-profile-|cs-profile|memory-profile|test-coverage|coverage-)/,
    'PROFILE',
  ],
  [/^(--coverage|-coverage|-fbranch-probabilities|-fvpt|-ftest-coverage)$/, 'PROFILE'],
  [/^-f(lto($|=)|whole-program$|split-lto-unit$)/, 'LINK_TIME_OPTIMIZATION'],
  [/^-gsplit-dwarf/, 'SPLIT_DEBUG'],
  [/^-g(gdb)?3$|^-g(dwarf|stabs|coff|xcoff|vms)-?\d*-3$/, 'MACRO_DEBUG'],
  [/^-fdebug-macro$/, 'MACRO_DEBUG'],
  [
    /^(-aux-info|-dumpbase|-dumpbase-ext|-dumpdir|-fstack-usage|-fsave-optimization-record.*|-time|-time=)$/,
    'EXTRA_OUTPUT',
  ],
  [
    /^-f(dump-|callgraph-info|opt-info|time-report|time-trace|mem-report|crash-diagnostics|proc-stat|rpass)/,
    'EXTRA_OUTPUT',
  ],
  [/^-d[A-Za-z]+$/, 'EXTRA_OUTPUT'],
  [
    /^(-MJ|-serialize-diagnostics|--serialize-diagnostics|-dependency-file|-dependency-dot|-fverbose-asm|-frecord-gcc-switches|-frecord-command-line|-grecord-command-line)$/,
    'EXTRA_OUTPUT',
  ],
  [
    /^-f(sanitize-(black|ignore|coverage-)\w*list|randomize-layout-seed-file|xray-\w+-(instruct|list)|openmp-targets|embed-bitcode)/,
    'READS_FILES',
  ],
  [/^(-fembed-dir=|-fdiagnostics-format=|-fdiagnostics-set-output=|-fdiagnostics-add-output=)$/, 'EXTRA_OUTPUT'],
  [/^-f(openacc|offload|openmp-target)/, 'SEVERAL_TARGETS'],
  [/^-(arch|Xarch_\w+|Xopenmp-target|Xcuda-\w+)$/, 'SEVERAL_TARGETS'],
  [/^(-l|-framework|-filelist|-Xlinker)$/, 'LINKER_INPUT'],
  [
    /^(-Xassembler|-Xpreprocessor|-working-directory|-working-directory=|-iprefix|-iwithprefix|-iwithprefixbefore)$/,
    'UNKNOWN_OPTION',
  ],
  [
    /^-(fpreprocessed|fdirectives-only|frewrite-includes|P|C|CC|H|fno-working-directory|traditional|traditional-cpp|no-integrated-cpp|emit-.*|emit-llvm)$/,
    'UNKNOWN_OPTION',
  ],
];

/** Long options that are known, and may come along or stay here. Others may have a value behind them. */
const longOptions = new Set(['--sysroot', '--sysroot=', '--param', '--param=', '--std=', '--target=', '--pedantic']);

/** What the assembler may be told: nothing that names a file, here or as a further output. */
const harmlessForAssembler =
  /^(--noexecstack|--execstack|-mrelax-relocations=\w+|--64|--32|--x32|-mcpu=[\w.+-]+|-march=[\w.+-]+|-m[\w=.+-]+|--gdwarf-\d|--compress-debug-sections(=\w+)?|-W|--no-warn|--fatal-warnings)$/;

/** Why this word alone keeps a compile here; undefined where it does not. */
export function localReasonOf(word: CommandWord): LocalReason | undefined {
  if (word.kind === 'unfinished') return 'UNFINISHED_OPTION';
  if (word.kind === 'input') return undefined;
  const { name } = word;
  if (word.kind === 'option') {
    if (/^-m(arch|tune|cpu)=$/.test(name) && word.value.startsWith('native')) return 'NATIVE_TUNING';
    if (name === '-Wa,') {
      return word.value.split(',').every((option) => harmlessForAssembler.test(option))
        ? undefined
        : 'ASSEMBLER_OPTIONS';
    }
    // What the preprocessor is told in other words is told to it alone.
    if (name === '-Wp,') {
      return /^(-MMD|-MD|-MP|-D|-U|-MT|-MQ|-MF|-I)/.test(word.value) ? undefined : 'UNKNOWN_OPTION';
    }
  }
  const rule = rules.find(([pattern]) => pattern.test(name));
  if (rule !== undefined) return rule[1];
  if (name.startsWith('--') && !longOptions.has(name)) return 'UNKNOWN_OPTION';
  return undefined;
}
