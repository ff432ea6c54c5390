import { concatBytes, type Digest } from '@cella/bytes'
import type { SignedDocument } from '@cella/documents'
import { ChunkOpener, combineDek, type Dek, type DekShare, headerLength, SealError } from '@cella/seal'
import { SdkError } from './error.ts'
import type { Locations } from './manager/answers.ts'
import type { Session } from './session.ts'

/** So many choices of shares are tried: those of eight holders, made twice. */
const choicesMax = 20_000

/**
 * The DEK of those shares that fit together, by the key commitment of the manifest; the caller zeroes it. Undefined where none do:
 * a share proves nothing by itself, and shares of two splits may lie side by side.
 */
export async function combineShares(
  session: Session,
  options: {
    manifest: SignedDocument<'cella/manifest'>
    shares: readonly (DekShare & { readonly threshold: number })[]
    locations: ReadonlyMap<Digest, Locations>
  },
): Promise<Dek | undefined> {
  const { manifest, shares, locations } = options
  const thresholds = new Set(shares.map(({ threshold }) => threshold).filter((threshold) => threshold <= shares.length))
  if (thresholds.size === 0) return undefined
  const header = await headerOf(session, locations.get(manifest.digest))
  const { sealed } = manifest.payload
  let choices = 0
  for (const threshold of thresholds) {
    const alike = shares.filter((share) => share.threshold === threshold)
    for (const chosen of choicesOf(alike, threshold)) {
      choices += 1
      if (choices > choicesMax) return undefined
      const dek = await combineDek(chosen)
      if (isKeyOf(dek, header, sealed)) return dek
      dek.fill(0)
    }
  }
  return undefined
}

/** Every choice of `count` of the shares, no two of one index. */
function* choicesOf<Share extends DekShare>(shares: readonly Share[], count: number): Generator<Share[]> {
  if (count === 0) {
    yield []
    return
  }
  for (const [position, share] of shares.entries()) {
    const others = shares.slice(position + 1).filter(({ index }) => index !== share.index)
    for (const rest of choicesOf(others, count - 1)) yield [share, ...rest]
  }
}

function isKeyOf(
  dek: Dek,
  header: Uint8Array,
  expected: ConstructorParameters<typeof ChunkOpener>[1]['expected'],
): boolean {
  try {
    new ChunkOpener(header, { dek, expected })
    return true
  } catch (error) {
    if (error instanceof SealError && error.code === 'ERR_SEAL_WRONG_KEY') return false
    throw error
  }
}

/** The beginning of the ciphertext: with the commitment in the manifest it tells whether a key is the one. */
async function headerOf(session: Session, where: Locations | undefined): Promise<Uint8Array> {
  if (where === undefined) {
    throw new SdkError(
      'ERR_KEY_COPY_MISSING',
      'the manager does not say where the ciphertext lies, which tells the right key',
      {
        hint: 'publish it again',
      },
    )
  }
  const parts: Uint8Array[] = []
  for await (const part of await session.manager.blobStream(where.sealed as Digest, { start: 0, end: headerLength })) {
    parts.push(part)
    if (parts.reduce((sum, { length }) => sum + length, 0) >= headerLength) break
  }
  return concatBytes(...parts).subarray(0, headerLength)
}
