import { answerAsSystemd } from './answer-as-systemd.ts';

// Run as one of the programs of systemd: `node main.ts STATE-FILE PROGRAM ARGUMENTS…`.
const [stateFile = '', program = '', ...args] = process.argv.slice(2);
const { code, stdout, stderr } = answerAsSystemd(stateFile, program, args);
process.stdout.write(stdout);
process.stderr.write(stderr);
process.exitCode = code;
