export {
  discoveryAnswerBytes,
  discoveryRequestBytes,
  isDiscoveryRequest,
  parseDiscoveryAnswer,
  type DiscoveryAnswer,
} from './discovery-datagram.ts';
export { itemInText } from './item-finder.ts';
export {
  acquireText,
  discoveryClientPortDefault,
  discoveryPortDefault,
  fileSizeBytesMax,
  internalTag,
  jobPortDefault,
  stopText,
  stoppedText,
} from './herd-texts.ts';
export type { WireTag, WireTask } from './parse-tag.ts';
export { wireCutShort, wireInvalid, wireTooLarge } from './wire-error.ts';
export { WireReader } from './wire-reader.ts';
export {
  acquireBytes,
  finishedBytes,
  inputEndBytes,
  inputTagBytes,
  jobEndBytes,
  jobTagBytes,
  outputEndBytes,
  outputTagBytes,
  stopBytes,
  stoppedBytes,
  taskEndBytes,
  taskItemBytes,
  taskTagBytes,
  wantedOutputTagBytes,
} from './wire-writer.ts';
