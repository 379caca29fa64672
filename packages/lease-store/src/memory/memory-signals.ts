import type { StoreSignal, StoreSignals } from '../store-signals.ts';

/** Signals within a process: told in a microtask, so that announcing never runs a listener. */
export function memorySignals(): StoreSignals & { close(): void } {
  const listeners = new Set<(signal: StoreSignal) => void>();
  return {
    announce: (signal) => {
      queueMicrotask(() => {
        for (const listener of [...listeners]) listener(signal);
      });
    },
    listen: (listener) => {
      const entry = (signal: StoreSignal) => listener(signal);
      listeners.add(entry);
      return () => void listeners.delete(entry);
    },
    close: () => listeners.clear(),
  };
}
