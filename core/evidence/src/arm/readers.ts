import { FormatError } from '@cella/bytes'
import { decodeCbor } from '@cella/cbor'
import { isCoseMac0 } from '../cose/sign1.ts'
import { EvidenceError, reading } from '../error.ts'
import { ccaTags, ccaTokenBytesMax, parseCcaToken } from './cca-token.ts'
import type { CcaEntry, PsaEntry } from './entry.ts'
import { parsePsaToken, psaTokenBytesMax } from './psa-token.ts'

/** Evidence of a CCA token as the RMM or configfs-tsm gives it. Throws EvidenceError if malformed; nothing is verified. */
export function ccaEvidenceOf(token: Uint8Array): CcaEntry {
  const copy = Uint8Array.from(token.subarray(0, ccaTokenBytesMax + 1))
  reading(() => parseCcaToken(copy))
  return { role: 'cpu', format: 'cca/1', token: copy }
}

/** Evidence of a PSA token. Throws EvidenceError if malformed; nothing is verified. */
export function psaEvidenceOf(token: Uint8Array): PsaEntry {
  const copy = Uint8Array.from(token.subarray(0, psaTokenBytesMax + 1))
  reading(() => parsePsaToken(copy))
  return { role: 'cpu', format: 'psa/1', token: copy }
}

/** A name for people if the bytes look like an Arm token; nothing is verified. */
export function recogniseArm(bytes: Uint8Array): string | undefined {
  try {
    const item = decodeCbor(bytes, 'token', { bytesMax: ccaTokenBytesMax })
    if (item.type === 'tag' && (item.tag === ccaTags.plain || item.tag === ccaTags.cmw)) return 'an Arm CCA token'
    if (isCoseMac0(item)) return 'a COSE_Mac0, as PSA devices with a shared key send it'
    parsePsaToken(bytes)
    return 'an Arm PSA token'
  } catch (error) {
    if (!(error instanceof FormatError || error instanceof EvidenceError)) throw error
    return undefined
  }
}
