import { concatBytes, encodeUtf8, uint64Bytes } from '@cella/bytes'
import { sha256 } from '@cella/primitives'
import { encodeVkey, type NoteKey } from './keys.ts'
import { commitmentOf, encodeLeaf, tagLength } from './leaf.ts'

// A log whose key is held by attested code says so in itself: a statement (docs/formats/log-signer.md) is an entry before
// anything else of the log's own, and one more is for each code that the key passes to. Their tags can be computed by
// everybody who knows the log's key, so whoever reads every leaf knows that it has all of them.

/** Names the stream of frames in which a log asks its signer: docs/formats/log-signer.md. */
export const signStreamProtocol = 'cella-sign/1'

/** The statement is public: nothing is to be hidden by its commitment. */
const noSalt = new Uint8Array(32)

/** The tag of the `number`-th statement on who holds this key, from 0: SHA-256("cella/v1/log-signer" ‖ vkey ‖ 0x0A ‖ number as u64), cut. */
export function signerTag(key: NoteKey, number: number): Uint8Array {
  const input = concatBytes(encodeUtf8(`cella/v1/log-signer${encodeVkey(key)}\n`), uint64Bytes(number))
  return new Uint8Array(sha256(input).subarray(0, tagLength))
}

/** The leaf of a statement, 64 bytes. */
export function signerLeaf(key: NoteKey, number: number, statement: Uint8Array): Uint8Array {
  return encodeLeaf({
    kind: 'state',
    commitment: commitmentOf('state', noSalt, statement),
    tag: signerTag(key, number),
  })
}
