import type { DescFile, DescMessage } from '@bufbuild/protobuf';
import { expect, test } from 'vitest';
import { file_grpc_health_v1_health } from './gen/grpc/health/v1/health_pb.ts';
import { file_grpc_reflection_v1_reflection } from './gen/grpc/reflection/v1/reflection_pb.ts';
import { file_grpc_reflection_v1alpha_reflection } from './gen/grpc/reflection/v1alpha/reflection_pb.ts';

const numbers = (message: DescMessage): string =>
  message.fields.map((field) => `${field.name}=${field.number}`).join(' ');
const shape = (file: DescFile) => ({
  package: file.proto.package,
  services: file.services.map((service) => [
    service.name,
    ...service.methods.map((method) => `${method.name}:${method.methodKind}`),
  ]),
  messages: Object.fromEntries(file.messages.map((message) => [message.name, numbers(message)])),
});

/** Read from grpc/grpc-proto, which every gRPC client has compiled in. */
test('grpc.health.v1 has the names and numbers of the standard', () => {
  expect(shape(file_grpc_health_v1_health)).toEqual({
    package: 'grpc.health.v1',
    services: [['Health', 'Check:unary', 'List:unary', 'Watch:server_streaming']],
    messages: {
      HealthCheckRequest: 'service=1',
      HealthCheckResponse: 'status=1',
      HealthListRequest: '',
      HealthListResponse: 'statuses=1',
    },
  });
  const [status] = file_grpc_health_v1_health.messages[1]?.nestedEnums ?? [];
  expect(status?.values.map((value) => `${value.name}=${value.number}`)).toEqual([
    'UNKNOWN=0',
    'SERVING=1',
    'NOT_SERVING=2',
    'SERVICE_UNKNOWN=3',
  ]);
});

test.each([
  ['grpc.reflection.v1', file_grpc_reflection_v1_reflection],
  ['grpc.reflection.v1alpha', file_grpc_reflection_v1alpha_reflection],
])('%s has the names and numbers of the standard', (name, file) => {
  expect(shape(file)).toEqual({
    package: name,
    services: [['ServerReflection', 'ServerReflectionInfo:bidi_streaming']],
    messages: {
      ServerReflectionRequest:
        'host=1 file_by_filename=3 file_containing_symbol=4 file_containing_extension=5 ' +
        'all_extension_numbers_of_type=6 list_services=7',
      ExtensionRequest: 'containing_type=1 extension_number=2',
      ServerReflectionResponse:
        'valid_host=1 original_request=2 file_descriptor_response=4 all_extension_numbers_response=5 ' +
        'list_services_response=6 error_response=7',
      FileDescriptorResponse: 'file_descriptor_proto=1',
      ExtensionNumberResponse: 'base_type_name=1 extension_number=2',
      ListServiceResponse: 'service=1',
      ServiceResponse: 'name=1',
      ErrorResponse: 'error_code=1 error_message=2',
    },
  });
});
