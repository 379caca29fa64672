import { fromBinary, type DescMessage, type MessageShape } from '@bufbuild/protobuf';
import { anyUnpack, type Any } from '@bufbuild/protobuf/wkt';
import { DroverError, type JobPlanner, type LeaseRequirements, type LeaseType } from '@drover/lease-kit';

/** How the message of a lease type becomes a lease. */
export interface MessagePlannerOptions<Payload extends DescMessage, Output extends DescMessage> {
  readonly type: LeaseType<Payload, Output>;
  /** Throws a DroverError with advice `fix-input` for a message that is not right. Absent: every message is. */
  readonly check?: (payload: MessageShape<Payload>) => void;
  /** For people. Absent means the name of the lease type. */
  readonly name?: (payload: MessageShape<Payload>) => string;
  /** What an agent must have and be. Absent means one core. */
  readonly requirements?: (payload: MessageShape<Payload>) => LeaseRequirements;
  /** Whether the output of a completed lease says that the work succeeded. Absent: it does. */
  readonly succeeded?: (output: MessageShape<Output>) => boolean;
}

/**
 * The planner of a lease type whose message is submitted as it is: one lease, of the source that has the name of the type, by
 * the rules of the type. Bytes that cannot be read as the message are refused with LEASE_PAYLOAD_INVALID.
 */
export function createMessagePlanner<Payload extends DescMessage, Output extends DescMessage>(
  options: MessagePlannerOptions<Payload, Output>,
): JobPlanner {
  const { type, check, name, requirements, succeeded } = options;
  return {
    payloadType: type.payload.typeName,
    source: type.name,
    outputType: type.output.typeName,
    plan(packed) {
      const payload = read(type, packed);
      check?.(payload);
      return [
        {
          name: name?.(payload) ?? type.name,
          payload: packed,
          requirements: requirements?.(payload) ?? { resources: { cores: 1 } },
          runLimitMs: type.runLimitMs,
          cancelGraceMs: type.cancelGraceMs,
          retry: type.retry,
        },
      ];
    },
    succeeded(packed) {
      const output = anyUnpack(packed, type.output);
      return output !== undefined && (succeeded?.(output) ?? true);
    },
  };
}

function read<Payload extends DescMessage>(type: LeaseType<Payload>, packed: Any): MessageShape<Payload> {
  try {
    return fromBinary(type.payload, packed.value);
  } catch (cause) {
    throw new DroverError({
      code: 'LEASE_PAYLOAD_INVALID',
      advice: 'fix-input',
      message: `the payload is no ${type.payload.typeName}: its bytes cannot be read`,
      cause,
    });
  }
}
