import type { CommandWord } from './command-words.ts';

/** Who needs an option once a compile is in two steps. */
export type OptionRole = 'preprocessor' | 'linker' | 'compiler';

/** The preprocessor alone; GCC leaves all of them out of what it notes of its options in debug information. */
const preprocessor =
  /^(-I|-D|-U|-A|-F|-isystem|-iquote|-idirafter|-include|-imacros|-isysroot|-imultilib|-imultiarch|-iframework|-iframeworkwithsysroot|-isystem-after|-iwithsysroot|-cxx-isystem|-c-isystem|-stdlib\+\+-isystem|-ivfsoverlay|-I-|-MF|-MT|-MQ|-MD|-MMD|-MP|-MG|-MV|-Wp,|-nostdinc|-nostdinc\+\+|-nobuiltininc|--sysroot|--sysroot=|-resource-dir)$/;
const linker =
  /^(-L|-T|-u|-z|-e|-h|-R|-Wl,|-static|-shared|-rdynamic|-nostdlib|-nodefaultlibs|-nostartfiles|-nolibc|-s|-symbolic|-static-libgcc|-static-libstdc\+\+|-shared-libgcc|-fuse-ld=|-Tbss|-Tdata|-Ttext)$/;

/** Who needs this word. An input is the compiler's. */
export function roleOf(word: CommandWord): OptionRole {
  if (word.kind === 'input') return 'compiler';
  if (preprocessor.test(word.name)) return 'preprocessor';
  return linker.test(word.name) ? 'linker' : 'compiler';
}
