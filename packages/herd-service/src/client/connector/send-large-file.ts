import { randomUUID } from 'node:crypto';
import { create, toBinary } from '@bufbuild/protobuf';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { formatDigest, type Digest } from '@drover/content-store';
import type { LocalFile } from '@drover/herd-protocol';
import { droverErrorFromConnect } from '@drover/rpc-errors';
import { ByteStream, WriteRequestSchema, type WriteRequest } from '@drover/standard-protocols';
import { filePieces } from '../file-pieces.ts';
import type { AgentConnection } from './agent-connection.ts';
import { isAway } from './connect-failures.ts';

/**
 * Writes a file as a blob by ByteStream, each byte from the file to the connection without a copy in between. The agent checks
 * the digest. Answers false if the connection broke, or the agent has it not whole: a slower way goes on where that is known.
 */
export async function sendLargeFile(
  connection: AgentConnection,
  digest: Digest,
  file: LocalFile,
  signal: AbortSignal,
): Promise<boolean> {
  let readFailure: { readonly cause: unknown } | undefined;
  const requests = async function* (): AsyncGenerator<WriteRequest> {
    const resourceName = `uploads/${randomUUID()}/blobs/${formatDigest(digest)}`;
    let writeOffset = 0n;
    try {
      for await (const data of filePieces(file.source, digest.sizeBytes)) {
        yield create(WriteRequestSchema, { resourceName, writeOffset, data });
        writeOffset += BigInt(data.length);
      }
    } catch (cause) {
      readFailure = { cause };
      throw cause;
    }
    yield create(WriteRequestSchema, { resourceName, writeOffset, finishWrite: true });
  };
  const answers = connection.stream(ByteStream.method.write, requests(), signal, { encode: writeRequestPieces });
  try {
    const { done, value } = await answers.next();
    return done !== true && value.committedSize === BigInt(digest.sizeBytes);
  } catch (error) {
    signal.throwIfAborted();
    if (readFailure !== undefined) throw readFailure.cause;
    if (isAway(error)) return false;
    throw droverErrorFromConnect(error);
  } finally {
    void answers.return?.();
  }
}

/** A request with its data as they are: the head, the field's tag and length, then the bytes. */
function writeRequestPieces(request: WriteRequest): readonly Uint8Array[] {
  const { data, resourceName, writeOffset, finishWrite } = request;
  if (data.length === 0) return [toBinary(WriteRequestSchema, request)];
  const writer = new BinaryWriter();
  writer.raw(toBinary(WriteRequestSchema, create(WriteRequestSchema, { resourceName, writeOffset, finishWrite })));
  writer.tag(WriteRequestSchema.field.data.number, WireType.LengthDelimited).uint32(data.length);
  return [writer.finish(), data];
}
