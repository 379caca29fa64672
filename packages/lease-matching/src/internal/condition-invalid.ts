import { DroverError } from '@drover/lease-kit';

const excerptBefore = 50;
const excerptAfter = 20;

/** The error `CONDITION_INVALID`: what was wrong, at which column, what is allowed there, and an excerpt with a caret. */
export function conditionInvalid(text: string, position: number, problem: string, allowed: string): DroverError {
  const from = Math.max(0, position - excerptBefore);
  const to = Math.min(text.length, position + excerptAfter);
  const before = (from > 0 ? '…' : '') + oneLine(text.slice(from, position));
  const after = oneLine(text.slice(position, to)) + (to < text.length ? '…' : '');
  return new DroverError({
    code: 'CONDITION_INVALID',
    advice: 'fix-input',
    message:
      `Condition invalid at column ${position + 1}: ${problem}; allowed here: ${allowed}.\n` +
      `  ${before}${after}\n` +
      `  ${' '.repeat(before.length)}^`,
    details: { position, problem, allowed },
  });
}

/** Every character that could break the line or move the caret becomes one space. */
function oneLine(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, ' ');
}
