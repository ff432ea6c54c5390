import { concatBytes, type Digest, decodeHex, uint32Bytes } from '@cella/bytes'
import { commitmentOf, encodeLeaf, streamTag } from '@cella/log'
import { deriveHpkeKeyPair, digestOf, type HpkeKeyPair, hkdfSha256, hmacSha256 } from '@cella/primitives'
import { label } from './state.ts'

const noSalt = new Uint8Array(0)

/** A KEK pair and its id, SHA-256 of the public key, from the seed of one epoch. */
export async function kekOf(seed: Uint8Array): Promise<HpkeKeyPair & { id: Digest }> {
  const ikm = hkdfSha256({ ikm: seed, salt: noSalt, info: label('cella/v1/kek'), length: 64 })
  const pair = await deriveHpkeKeyPair(ikm)
  return { ...pair, id: digestOf(pair.publicKey) }
}

/** Names the stream of uses of an asset in the log, 32 bytes. */
export function useStreamKey(secret: Uint8Array, manifest: Digest): Uint8Array {
  const info = concatBytes(label('cella/v1/uses'), decodeHex(manifest, 'manifest'))
  return hkdfSha256({ ikm: secret, salt: noSalt, info, length: 32 })
}

/** Names the stream of an organisation's events in the log, 32 bytes: docs/formats/events.md. */
export function eventStreamKey(secret: Uint8Array): Uint8Array {
  return hkdfSha256({ ikm: secret, salt: noSalt, info: label('cella/v1/events'), length: 32 })
}

/**
 * Tag of the entry that ends an epoch and begins the next: change `epoch` − 1 of the organisation's stream of epochs. The
 * first leaf with it counts.
 */
export function epochEndTag(secret: Uint8Array, epoch: number): Uint8Array {
  return streamTag(epochsKey(secret), epoch - 1)
}

/** The entry that begins an epoch with this KEK. It is a function of both, so that a rotation that was cut short goes on. */
export function epochLeaf(secret: Uint8Array, { epoch, kek }: { epoch: number; kek: Digest }): Uint8Array {
  const body = concatBytes(uint32Bytes(epoch), decodeHex(kek, 'kek'))
  const salt = hmacSha256(epochsKey(secret), concatBytes(label('cella/v1/epoch'), body))
  return encodeLeaf({
    kind: 'state',
    commitment: commitmentOf('state', salt, body),
    tag: epochEndTag(secret, epoch - 1),
  })
}

function epochsKey(secret: Uint8Array): Uint8Array {
  return hkdfSha256({ ikm: secret, salt: noSalt, info: label('cella/v1/epochs'), length: 32 })
}

/**
 * What the reservation of a run commits to, so that a vault without memory finds its own again: the salt comes from the
 * stream key, the body is contract ‖ run.
 */
export function reservationCommitment(streamKey: Uint8Array, contract: Digest, run: number): Uint8Array {
  const body = concatBytes(decodeHex(contract, 'contract'), uint32Bytes(run))
  const salt = hmacSha256(streamKey, concatBytes(label('cella/v1/reservation'), body))
  return commitmentOf('reservation', salt, body)
}
