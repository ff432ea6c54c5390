/** Every truncation of `bytes`, one byte more, and every byte changed in its lowest and in its highest bit. */
export function* everyBend(bytes: Uint8Array): Generator<Uint8Array> {
  for (let length = 0; length < bytes.length; length++) yield bytes.slice(0, length)
  yield Uint8Array.from([...bytes, 0])
  for (let at = 0; at < bytes.length; at++) {
    yield Uint8Array.from(bytes).with(at, bytes[at]! ^ 1)
    yield Uint8Array.from(bytes).with(at, bytes[at]! ^ 0x80)
  }
}
