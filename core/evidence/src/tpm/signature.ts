import { ByteReader, concatBytes, FormatError } from '@cella/bytes'
import { type QuoteAlgorithm, type TpmHash, tpmAlgorithm, tpmHashOf } from './algorithms.ts'

const signatureBytesMax = 1100
/** Modulus of RSA-2048 to RSA-4096. */
const rsaLengths: readonly number[] = [256, 384, 512]
const curves: { readonly [Hash in TpmHash]?: { algorithm: QuoteAlgorithm; length: number } } = {
  sha256: { algorithm: 'ecdsa-p256-sha256', length: 32 },
  sha384: { algorithm: 'ecdsa-p384-sha384', length: 48 },
  sha512: { algorithm: 'ecdsa-p521-sha512', length: 66 },
}

export interface TpmSignature {
  readonly algorithm: QuoteAlgorithm
  readonly hash: TpmHash
  /** As verifySignature wants it: RSA big-endian, ECDSA r ‖ s. */
  readonly signature: Uint8Array
}

/**
 * Reads a TPMT_SIGNATURE (TPM 2.0 Library Part 2, §11.3.4) of RSASSA, RSAPSS or ECDSA, whole. Throws FormatError; an
 * ECDSA curve with another hash than its own, and SHA-1 but with RSASSA, are not read.
 */
export function parseTpmSignature(bytes: Uint8Array): TpmSignature {
  if (bytes.length > signatureBytesMax) {
    throw new FormatError('signature', `has ${bytes.length} bytes, at most ${signatureBytesMax} are read`)
  }
  const reader = new ByteReader(Uint8Array.from(bytes))
  const scheme = reader.uint16('signature.sigAlg')
  const { name: hash } = tpmHashOf(reader.uint16('signature.hash'), 'signature.hash')
  if (scheme === tpmAlgorithm.ecdsa) return parseEcdsa(reader, hash)
  if (scheme !== tpmAlgorithm.rsassa && scheme !== tpmAlgorithm.rsapss) {
    throw new FormatError('signature.sigAlg', `is 0x${scheme.toString(16)}, expected RSASSA, RSAPSS or ECDSA`)
  }
  const length = reader.uint16('signature.sig')
  if (!rsaLengths.includes(length)) throw new FormatError('signature.sig', `has ${length} bytes: not RSA-2048 to -4096`)
  const signature = reader.take(length, 'signature.sig')
  reader.end('signature')
  if (scheme === tpmAlgorithm.rsassa) return { algorithm: `rsa-pkcs1-${hash}`, hash, signature }
  if (hash === 'sha1') throw new FormatError('signature.hash', 'is SHA-1 with RSAPSS, which is not read')
  return { algorithm: `rsa-pss-${hash}`, hash, signature }
}

function parseEcdsa(reader: ByteReader, hash: TpmHash): TpmSignature {
  const curve = curves[hash]
  if (curve === undefined) throw new FormatError('signature.hash', 'is SHA-1 with ECDSA, which is not read')
  const parts = ['signature.r', 'signature.s'].map((field) => {
    const length = reader.uint16(field)
    if (length < 1 || length > curve.length) {
      throw new FormatError(field, `has ${length} bytes, expected 1 to ${curve.length} for ${hash}`)
    }
    const part = new Uint8Array(curve.length)
    // Some TPMs leave leading zeros out.
    part.set(reader.take(length, field), curve.length - length)
    return part
  })
  reader.end('signature')
  return { algorithm: curve.algorithm, hash, signature: concatBytes(...parts) }
}

/** TPMT_SIGNATURE of a bare RSASSA signature with SHA-256, as Azure's tools hand it out. */
export function rsassaSignature(signature: Uint8Array): Uint8Array {
  if (!rsaLengths.includes(signature.length)) {
    throw new FormatError('signature', `has ${signature.length} bytes: not of RSA-2048 to -4096`)
  }
  return concatBytes(
    Uint8Array.of(0, tpmAlgorithm.rsassa, 0, 0x0b, signature.length >> 8, signature.length & 0xff),
    signature,
  )
}
