/** Where an option has its value: in the next word, or there or in its own. */
type ValueForm = 'separate' | 'either';

const words = (text: string): string[] => text.trim().split(/\s+/);

/** After "Option Summary" of GCC's manual, and Clang's command line reference. */
const forms: Readonly<Record<ValueForm, readonly string[]>> = {
  either: words(`
    -o -x -D -U -I -L -l -A -B -F -T -u -z
    -isystem -iquote -idirafter -include -imacros -iprefix -iwithprefix -iwithprefixbefore -isysroot -imultilib
    -imultiarch -iframework -iframeworkwithsysroot -isystem-after -iwithsysroot -cxx-isystem -c-isystem -stdlib++-isystem
    -ivfsoverlay -include-pch -MF -MT -MQ -MJ
  `),
  separate: words(`
    -Xpreprocessor -Xassembler -Xlinker -Xclang -Xanalyzer -Xcuda-fatbinary -Xcuda-ptxas -Xopenmp-target -Xthinlink
    -aux-info --param -dumpbase -dumpbase-ext -dumpdir -wrapper -arch -framework -target -mllvm -mmlir
    -gcc-toolchain --sysroot -install_name -bundle_loader -allowable_client -client_name -compatibility_version
    -current_version -dylib_file -dylinker_install_name -exported_symbols_list -filelist -force_load -image_base -init
    -multiply_defined -multiply_defined_unused -pagezero_size -read_only_relocs -sectalign -sectcreate -sectobjectsymbols
    -segaddr -seg_addr_table -seg_addr_table_filename -seg1addr -segs_read_only_addr -segs_read_write_addr -sub_library
    -sub_umbrella -umbrella -undefined -unexported_symbols_list -weak_library -weak_framework -weak_reference_mismatches
    -serialize-diagnostics --serialize-diagnostics -working-directory -module-dependency-dir -dependency-file
    -dependency-dot -resource-dir -Tbss -Tdata -Ttext
  `),
};

/** Options that take the word behind them, whichever else they can. */
export const separateOptions: ReadonlySet<string> = new Set([...forms.either, ...forms.separate]);

/** Options whose value may stand in the same word, longest first, so that `-isystem` is not read as `-i`. */
export const joinedOptions: readonly string[] = [...forms.either, '-Wl,', '-Wa,', '-Wp,'].sort(
  (left, right) => right.length - left.length,
);
