import { toBinary, type DescFile, type DescMessage, type DescService } from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt';
import { Code } from '@connectrpc/connect';

/** What is answered to one reflection request; the same messages in grpc.reflection.v1 and v1alpha. */
type Answer =
  | { case: 'fileDescriptorResponse'; value: { fileDescriptorProto: Uint8Array[] } }
  | { case: 'allExtensionNumbersResponse'; value: { baseTypeName: string; extensionNumber: number[] } }
  | { case: 'listServicesResponse'; value: { service: { name: string }[] } }
  | { case: 'errorResponse'; value: { errorCode: number; errorMessage: string } };

/** The part that the requests of both versions share. */
interface Question {
  readonly host: string;
  readonly messageRequest:
    | { case: 'fileByFilename' | 'fileContainingSymbol' | 'allExtensionNumbersOfType' | 'listServices'; value: string }
    | { case: 'fileContainingExtension'; value: { containingType: string; extensionNumber: number } }
    | { case: undefined; value?: undefined };
}

/** Answers reflection requests. */
export interface Reflection {
  /** The messages that answer a stream of requests, in order. */
  answer<Request extends Question>(
    requests: AsyncIterable<Request>,
  ): AsyncIterable<{ validHost: string; originalRequest: Request; messageResponse: Answer }>;
}

/**
 * Server reflection over the descriptors of the registered services and all that they need, after
 * https://github.com/grpc/grpc/blob/master/doc/server-reflection.md. A file is answered with its dependencies, each before
 * the file that imports it; within one stream a dependency is sent once.
 */
export function createReflection(services: readonly DescService[]): Reflection {
  const files = new Map<string, DescFile>();
  const symbols = new Map<string, DescFile>();
  const extensions = new Map<string, Map<number, DescFile>>();
  const messages = new Set<string>();

  const addMessage = (message: DescMessage, file: DescFile): void => {
    messages.add(message.typeName);
    symbols.set(message.typeName, file);
    for (const field of message.fields) symbols.set(`${message.typeName}.${field.name}`, file);
    for (const oneof of message.oneofs) symbols.set(`${message.typeName}.${oneof.name}`, file);
    for (const nested of message.nestedMessages) addMessage(nested, file);
    addEnums(message.nestedEnums, file);
    addExtensions(message.nestedExtensions, file);
  };
  const addEnums = (enums: DescFile['enums'], file: DescFile): void => {
    for (const entry of enums) {
      symbols.set(entry.typeName, file);
      // A value is a sibling of its enum, not a member of it, as in C++.
      const scope = entry.typeName.slice(0, entry.typeName.lastIndexOf('.') + 1);
      for (const value of entry.values) symbols.set(scope + value.name, file);
    }
  };
  const addExtensions = (list: DescFile['extensions'], file: DescFile): void => {
    for (const extension of list) {
      symbols.set(extension.typeName, file);
      const numbers = extensions.get(extension.extendee.typeName) ?? new Map<number, DescFile>();
      extensions.set(extension.extendee.typeName, numbers.set(extension.number, file));
    }
  };
  const addFile = (file: DescFile): void => {
    // `file.name` has no suffix; importers and clients use the name with it.
    if (files.has(file.proto.name)) return;
    files.set(file.proto.name, file);
    for (const dependency of file.dependencies) addFile(dependency);
    for (const message of file.messages) addMessage(message, file);
    addEnums(file.enums, file);
    addExtensions(file.extensions, file);
    for (const service of file.services) {
      symbols.set(service.typeName, file);
      for (const method of service.methods) symbols.set(`${service.typeName}.${method.name}`, file);
    }
  };
  for (const service of services) addFile(service.file);

  const withDependencies = (file: DescFile, sent: Set<string>): Uint8Array[] => {
    const found = new Map<string, DescFile>();
    const visit = (next: DescFile): void => {
      if (found.has(next.proto.name)) return;
      for (const dependency of next.dependencies) visit(dependency);
      found.set(next.proto.name, next);
    };
    visit(file);
    // The file that was asked for always comes, or a client that forgot it would wait for it.
    const wanted = [...found.values()].filter((next) => next === file || !sent.has(next.proto.name));
    for (const next of wanted) sent.add(next.proto.name);
    return wanted.map((next) => toBinary(FileDescriptorProtoSchema, next.proto));
  };

  const answerOne = (request: Question['messageRequest'], sent: Set<string>): Answer => {
    const fileAnswer = (file: DescFile | undefined, what: string): Answer =>
      file === undefined
        ? failure(Code.NotFound, `There is no ${what} here.`)
        : { case: 'fileDescriptorResponse', value: { fileDescriptorProto: withDependencies(file, sent) } };
    switch (request.case) {
      case 'listServices':
        return {
          case: 'listServicesResponse',
          value: { service: services.map(({ typeName }) => ({ name: typeName })).sort(byName) },
        };
      case 'fileByFilename':
        return fileAnswer(files.get(request.value), `file ${shown(request.value)}`);
      case 'fileContainingSymbol':
        return fileAnswer(symbols.get(request.value.replace(/^\./, '')), `symbol ${shown(request.value)}`);
      case 'fileContainingExtension': {
        const { containingType, extensionNumber } = request.value;
        const file = extensions.get(containingType)?.get(extensionNumber);
        return fileAnswer(file, `extension ${extensionNumber} of ${shown(containingType)}`);
      }
      case 'allExtensionNumbersOfType': {
        if (!messages.has(request.value))
          return failure(Code.NotFound, `There is no message ${shown(request.value)} here.`);
        const extensionNumber = [...(extensions.get(request.value)?.keys() ?? [])];
        return { case: 'allExtensionNumbersResponse', value: { baseTypeName: request.value, extensionNumber } };
      }
      default:
        return failure(
          Code.InvalidArgument,
          'The request asks for nothing; allowed is one of the message_request fields.',
        );
    }
  };

  return {
    async *answer(requests) {
      const sent = new Set<string>();
      for await (const request of requests) {
        const messageResponse = answerOne(request.messageRequest, sent);
        yield { validHost: request.host, originalRequest: request, messageResponse };
      }
    },
  };
}

function byName(left: { name: string }, right: { name: string }): number {
  return left.name < right.name ? -1 : left.name > right.name ? 1 : 0;
}

function failure(code: Code, errorMessage: string): Answer {
  return { case: 'errorResponse', value: { errorCode: code, errorMessage } };
}

function shown(text: string): string {
  return JSON.stringify(text.length > 200 ? `${text.slice(0, 200)}…` : text);
}
