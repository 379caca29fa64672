import type { Socket } from 'node:net';

/** The first bytes of HTTP/2 with prior knowledge (RFC 9113, 3.4); no HTTP/1.1 method starts with them. */
const http2Start = Buffer.from('PRI');

/**
 * Tells by its first bytes whether a cleartext connection speaks HTTP/2 or HTTP/1.1, and leaves the bytes in the socket for
 * whoever takes it. Calls back once, or never if the connection ends or sends nothing within `timeoutMs`: it is destroyed
 * then.
 */
export function protocolOf(socket: Socket, timeoutMs: number, onProtocol: (protocol: 'h2' | 'http/1.1') => void): void {
  let head: Buffer = Buffer.alloc(0);
  const decided = (protocol: 'h2' | 'http/1.1'): void => {
    socket.off('readable', onReadable).off('end', onEnd).off('timeout', onEnd);
    socket.setTimeout(0);
    socket.unshift(head);
    onProtocol(protocol);
  };
  const onReadable = (): void => {
    const chunk = socket.read() as Buffer | null;
    if (chunk === null) return;
    head = head.length === 0 ? chunk : Buffer.concat([head, chunk]);
    const seen = Math.min(head.length, http2Start.length);
    if (head.compare(http2Start, 0, seen, 0, seen) !== 0) decided('http/1.1');
    else if (seen === http2Start.length) decided('h2');
  };
  const onEnd = (): void => void socket.destroy();
  socket.setTimeout(timeoutMs);
  socket.on('readable', onReadable).on('end', onEnd).on('timeout', onEnd);
}
