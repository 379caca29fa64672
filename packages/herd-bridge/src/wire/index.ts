export {
  discoveryAnswerBytes,
  discoveryRequestBytes,
  isDiscoveryRequest,
  parseDiscoveryAnswer,
  type DiscoveryAnswer,
} from './discovery-datagram.ts';
export { itemInText, type WireItem } from './item-finder.ts';
export {
  acquireText,
  discoveryClientPortDefault,
  discoveryPortDefault,
  fileSizeBytesMax,
  finishedText,
  internalTag,
  jobPortDefault,
  stopText,
  stoppedText,
} from './herd-texts.ts';
export type { WireTag, WireTask } from './parse-tag.ts';
export { notSendable, wireCutShort, wireInvalid, wireTooLarge } from './wire-error.ts';
export { WireReader, type NextItemOptions, type WireReaderOptions } from './wire-reader.ts';
export {
  acquireBytes,
  finishedBytes,
  inputEndBytes,
  inputTagBytes,
  jobEndBytes,
  jobTagBytes,
  outputEndBytes,
  outputTagBytes,
  sentItemBytesMax,
  stopBytes,
  stoppedBytes,
  taskEndBytes,
  taskItemBytes,
  taskTagBytes,
  wantedOutputTagBytes,
} from './wire-writer.ts';
