import { describe, expect, test } from 'vitest';
import { transcript } from '../transcript.test.fixture.ts';
import {
  acquireBytes,
  discoveryAnswerBytes,
  discoveryRequestBytes,
  finishedBytes,
  inputEndBytes,
  inputTagBytes,
  isDiscoveryRequest,
  jobEndBytes,
  jobTagBytes,
  outputEndBytes,
  outputTagBytes,
  parseDiscoveryAnswer,
  stopBytes,
  stoppedBytes,
  taskEndBytes,
  taskItemBytes,
  taskTagBytes,
  wantedOutputTagBytes,
} from './index.ts';
import { inPieces, readAsAgent, readAsClient, type ReadStream } from './read-stream.test.fixture.ts';

/** What is read of a transcript, which must not depend on where it is split. */
async function readAtEverySplit(
  name: string,
  read: (source: AsyncIterable<Uint8Array>) => Promise<ReadStream>,
): Promise<readonly string[]> {
  const bytes = transcript(name);
  const whole = await read(inPieces(bytes, [bytes.length]));
  expect(whole.error).toBeUndefined();
  for (const sizes of [[1], [2], [3], [7], [64]]) expect((await read(inPieces(bytes, sizes))).said).toEqual(whole.said);
  for (let at = 1; at < bytes.length; at++) {
    expect((await read(inPieces(bytes, [at, bytes.length]))).said).toEqual(whole.said);
  }
  return whole.said;
}

describe('what clients send', () => {
  test('a job', async () => {
    expect(await readAtEverySplit('client-job', readAsAgent)).toEqual([
      'Internal=You are mine now!',
      'job Job #0',
      'task unit-a | bin/task.sh | conf/a.txt -pipe=unit-a | unit-a',
      'input bin/task.sh | 18 "#!/bin/sh\\necho hi\\n"',
      'input conf/a.txt | 11 "hello-input"',
      'output conf/out.bin',
      'output conf/missing.bin',
      'job-end',
    ]);
    const written = [
      acquireBytes,
      jobTagBytes('Job #0'),
      taskTagBytes({ name: 'unit-a', exe: 'bin/task.sh', arguments: 'conf/a.txt -pipe=unit-a', pipe: 'unit-a' }),
      inputTagBytes('bin/task.sh', 18),
      Buffer.from('#!/bin/sh\necho hi\n'),
      inputEndBytes,
      inputTagBytes('conf/a.txt', 11),
      Buffer.from('hello-input'),
      inputEndBytes,
      wantedOutputTagBytes('conf/out.bin'),
      wantedOutputTagBytes('conf/missing.bin'),
      jobEndBytes,
    ];
    expect(Buffer.concat(written).toString('latin1')).toBe(transcript('client-job').toString('latin1'));
  });

  test('a job in any order, with any bytes', async () => {
    expect(await readAtEverySplit('client-job-any-order', readAsAgent)).toEqual([
      'Internal=You are mine now!',
      'job Job #41',
      'output ../experiments/e1/log.bin',
      `input ../bin/RLSimion-x64.exe | 40 ${JSON.stringify('\x7fELF\0</Input>\n<Input Name="x">\xff\r\n\0</Job>')}`,
      'output ../experiments/e1/empty',
      'task unit-1 | ../bin/RLSimion-x64.exe | ../experiments/e1/unit-1.simion.exp -pipe=unit-1 | unit-1 | T0K3N',
      'input ../experiments/e1/unit-1.simion.exp | 0 ""',
      'task unit-2 | ../bin/RLSimion-x64.exe |  |',
      'job-end',
    ]);
  });

  test('Stop', async () => {
    expect(await readAtEverySplit('client-stop', readAsAgent)).toEqual(['Internal=Stop']);
    expect(Buffer.from(stopBytes)).toEqual(transcript('client-stop'));
  });
});

describe('what agents send', () => {
  test('progress, an end, and results', async () => {
    expect(await readAtEverySplit('agent-job', readAsClient)).toEqual([
      'unit-a=<Progress>12.5</Progress>',
      'unit-a=<End>Ok</End>',
      'Internal=Job finished correctly',
      'job Job #0',
      'output conf/out.bin | 3 "RES"',
      'job-end',
    ]);
    const written = [
      taskItemBytes('unit-a', '<Progress>12.5</Progress>')!,
      taskEndBytes('unit-a', 'Ok'),
      finishedBytes,
      jobTagBytes('Job #0'),
      outputTagBytes('conf/out.bin', 3),
      Buffer.from('RES'),
      outputEndBytes,
      jobEndBytes,
    ];
    expect(Buffer.concat(written).toString()).toBe(transcript('agent-job').toString());
  });

  test('every kind of item, and a task without a pipe', async () => {
    expect(await readAtEverySplit('agent-job-any-order', readAsClient)).toEqual([
      'unit-1=<Progress>12.500000</Progress>',
      'unit-1=<Evaluation>1.0,-2.5</Evaluation>',
      "unit-1=<Message>WARNING: no < & ' escaped</Message>",
      'unit-1=<Error>ERROR: diverged</Error>',
      'unit-1=<End>Error</End>',
      '=<End>Ok</End>',
      'Internal=Job finished correctly',
      'job Job #41',
      `output ../experiments/e1/log.bin | 24 ${JSON.stringify('a</Output>\0</Job>\xff<Job>\n')}`,
      'output ../experiments/e1/empty | 0 ""',
      'job-end',
    ]);
    expect(taskEndBytes('', 'Ok').toString()).toBe('<><End>Ok</End></>');
  });

  test('noise, of which what is complete counts', async () => {
    expect(await readAtEverySplit('agent-noise', readAsClient)).toEqual([
      'unit-a=<Progress>50</Progress>',
      'unit-a=<Unheard>of</Unheard>',
      'unit-a=<End>Ok</End>',
      'Internal=At your command, my Master',
      'job ',
      'job-end',
    ]);
  });

  test('that a job was stopped, and that there is nothing', async () => {
    expect(await readAtEverySplit('agent-stopped', readAsClient)).toEqual([
      'unit-a=<Progress>1</Progress>',
      'unit-a=<Progress>2</Progress>',
    ]);
    expect(transcript('agent-stopped').subarray(-stoppedBytes.length)).toEqual(Buffer.from(stoppedBytes));
    expect(await readAtEverySplit('agent-nothing', readAsClient)).toEqual([
      'Internal=Job finished correctly',
      'job Job #0',
      'job-end',
    ]);
  });
});

describe('discovery', () => {
  test('the request is these 24 bytes', () => {
    expect(Buffer.from(discoveryRequestBytes)).toEqual(transcript('discovery-request'));
    expect(isDiscoveryRequest(transcript('discovery-request'))).toBe(true);
    expect(isDiscoveryRequest(Buffer.from('Slaves, show yourselves!\n'))).toBe(false);
  });

  test.each(['discovery-answer', 'discovery-answer-busy'])('%s is read, and written as it was', (name) => {
    const answer = parseDiscoveryAnswer(transcript(name))!;
    expect(answer).toMatchSnapshot();
    expect(discoveryAnswerBytes(answer).toString()).toBe(transcript(name).toString());
  });

  test('old agents are understood', () => {
    expect(parseDiscoveryAnswer(transcript('discovery-answer-old'))).toEqual({
      version: '1.0.2.0',
      processorId: '',
      processors: 8,
      architecture: 'Win-64',
      loadPercent: 12.345678,
      memoryBytes: 3.5 * 1024 ** 3,
      cuda: '9.1',
      state: 'available',
      extra: { Room: 'B&B 12' },
    });
  });

  test.each([
    ['2048Kb', 2 * 1024 ** 2],
    ['1073741824', 1024 ** 3],
    ['x', 0],
    ['', 0],
    ['-5Mb', 0],
  ])('memory of %j is %d bytes', (text, bytes) => {
    const answer = parseDiscoveryAnswer(Buffer.from(`<HerdAgent><Memory>${text}</Memory></HerdAgent>`));
    expect(answer).toMatchObject({ memoryBytes: bytes, processors: 0, state: 'N/A' });
  });

  test.each(['', ' <HerdAgent/>', '<HerdAgent>', '<Agent></Agent>', '<HerdAgent></HerdAgent><x/>', 'DRVHRD'])(
    '%j is no answer',
    (text) => {
      expect(parseDiscoveryAnswer(Buffer.from(text))).toBeUndefined();
    },
  );
});

describe('what cannot be said', () => {
  test.each([
    () => wantedOutputTagBytes('a"b'),
    () => wantedOutputTagBytes('a>b'),
    () => wantedOutputTagBytes('a\nb'),
    () => inputTagBytes('ä', 1),
    () => inputTagBytes('a', 2 ** 31),
    () => outputTagBytes('a', -1),
    () => wantedOutputTagBytes('x'.repeat(8_000)),
  ])('is refused (%#)', (write) => {
    expect(write).toThrow(expect.objectContaining({ code: 'HERD_WIRE_NOT_SENDABLE' }));
  });

  test('an item has neither newlines nor the end of what is around it, and is not too long', () => {
    expect(String(taskItemBytes('a', '<Message>1\r\n2\n3</Message>'))).toBe('<a><Message>1 2 3</Message></a>');
    expect(String(taskItemBytes('a', '<Message></a><b>x</b></Message>'))).toBe(
      '<a><Message>< /a><b>x</b></Message></a>',
    );
    expect(taskItemBytes('a', 'x'.repeat(8_000))).toBeUndefined();
    expect(String(jobTagBytes('größer'))).toBe('<Job Name="gr??er">');
  });
});
