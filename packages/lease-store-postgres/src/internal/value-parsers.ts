type Parser = (text: string) => unknown;

const text: Parser = (value) => value;
const parsers = new Map<number, Parser>([
  [16, (value) => value === 't'],
  // Sequence numbers, epochs and sizes; all stay far below 2^53.
  [20, Number],
  [21, Number],
  [23, Number],
  [26, Number],
  [700, Number],
  [701, Number],
  [1700, Number],
  [17, bytes],
  [114, (value) => JSON.parse(value) as unknown],
  [3802, (value) => JSON.parse(value) as unknown],
  [1009, textArray],
]);

/** The store's own type parsers: int8 to number, bytea to Uint8Array, json, text[]; everything else stays text. */
export const valueParsers = {
  getTypeParser: (oid: number): Parser => parsers.get(oid) ?? text,
};

function bytes(value: string): Uint8Array {
  const { buffer, byteOffset, length } = Buffer.from(value.slice(2), 'hex');
  return new Uint8Array(buffer, byteOffset, length);
}

/** Parses the text form of a text[] without nested arrays or nulls. */
function textArray(value: string): string[] {
  const items: string[] = [];
  let at = 1;
  while (at < value.length - 1) {
    if (value[at] === '"') {
      let item = '';
      for (at += 1; value[at] !== '"'; at += 1) {
        if (value[at] === '\\') at += 1;
        item += value[at] ?? '';
      }
      items.push(item);
      at += 2;
    } else {
      const comma = value.indexOf(',', at);
      const end = comma === -1 ? value.length - 1 : comma;
      items.push(value.slice(at, end));
      at = end + 1;
    }
  }
  return items;
}
