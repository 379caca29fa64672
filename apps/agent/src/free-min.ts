import { byteSize } from '@drover/app-config';
import type { FreeMin } from '@drover/machine-care';

/** `5%` or `1gb`, as the configuration has checked it. */
export function freeMinFrom(text: string): FreeMin {
  const share = /^([\d.]+)\s?%$/.exec(text)?.[1];
  return share === undefined ? { bytes: byteSize().parse(text) } : { share: Number(share) / 100 };
}
