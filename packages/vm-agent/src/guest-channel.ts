import type { GuestFrame } from './guest-frames.ts';

/** What the parts of a connection use of it. */
export interface GuestChannel {
  readonly id: number;
  /** Resolves when the stream takes more. */
  send(type: number, ...parts: readonly Uint8Array[]): Promise<void> | undefined;
  /** Nothing more is expected on it. */
  close(): void;
}

/** Who listens on a channel. */
export interface GuestListener {
  frame(frame: GuestFrame): void;
  gone(error: Error): void;
}
