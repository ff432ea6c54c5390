import { ByteReader, concatBytes, FormatError } from '@cella/bytes'
import { der, derOid, derTag } from '../x509/der.ts'
import { tpmAlgorithm, tpmHashOf } from './algorithms.ts'

const publicBytesMax = 1024
const rsaEncryption = der(derTag.sequence, derOid('1.2.840.113549.1.1.1'), der(derTag.null))
// TPM_ECC_CURVE: object identifier and bytes of a coordinate.
const curves: Readonly<Record<number, { readonly oid: string; readonly length: number }>> = {
  3: { oid: '1.2.840.10045.3.1.7', length: 32 },
  4: { oid: '1.3.132.0.34', length: 48 },
  5: { oid: '1.3.132.0.35', length: 66 },
}
/** TPMA_OBJECT bits. TPM 2.0 Library Part 2, §8.3. */
const objectBits = { fixedTpm: 1, sensitiveDataOrigin: 5, restricted: 16, decrypt: 17, sign: 18 } as const

/** DER SubjectPublicKeyInfo of an RSA key: modulus and exponent big-endian, without leading zeros. */
export function rsaSpki(modulus: Uint8Array, exponent: Uint8Array): Uint8Array {
  const key = der(derTag.sequence, unsigned(modulus), unsigned(exponent))
  return der(derTag.sequence, rsaEncryption, der(derTag.bitString, Uint8Array.of(0), key))
}

/**
 * DER SubjectPublicKeyInfo of the attestation key in a TPMT_PUBLIC (TPM 2.0 Library Part 2, §12.2.4). It has to be a
 * restricted signing key that was made in this TPM and can't leave it: any other key signs what it is told, a made-up
 * quote too. That the TPM really holds such a key is not proven here. Throws FormatError.
 */
export function attestationKeyOf(tpmPublic: Uint8Array): Uint8Array {
  if (tpmPublic.length > publicBytesMax) {
    throw new FormatError('AK public', `has ${tpmPublic.length} bytes, at most ${publicBytesMax} are read`)
  }
  const reader = new ByteReader(tpmPublic)
  const type = reader.uint16('AK type')
  tpmHashOf(reader.uint16('AK nameAlg'), 'AK nameAlg')
  checkAttributes(reader.uint32('AK objectAttributes'))
  reader.take(reader.uint16('AK authPolicy'), 'AK authPolicy')
  const symmetric = reader.uint16('AK symmetric')
  if (symmetric !== tpmAlgorithm.null) throw new FormatError('AK symmetric', 'is not null, as a signing key has it')
  const scheme = reader.uint16('AK scheme')
  // A key without a scheme of its own is given one with each command.
  if (scheme !== tpmAlgorithm.null) tpmHashOf(reader.uint16('AK scheme hash'), 'AK scheme hash')
  if (type !== tpmAlgorithm.rsa && type !== tpmAlgorithm.ecc) {
    throw new FormatError('AK type', `is 0x${type.toString(16)}, expected RSA or ECC`)
  }
  const spki = type === tpmAlgorithm.rsa ? readRsa(reader) : readEcc(reader)
  reader.end('AK public')
  return spki
}

function checkAttributes(attributes: number): void {
  const has = (bit: keyof typeof objectBits): boolean => ((attributes >>> objectBits[bit]) & 1) === 1
  if (!has('restricted') || !has('sign') || has('decrypt')) {
    throw new FormatError('AK objectAttributes', 'are not of a restricted signing key')
  }
  if (!has('fixedTpm') || !has('sensitiveDataOrigin')) {
    throw new FormatError('AK objectAttributes', 'are of a key that was imported or may leave its TPM')
  }
}

function readRsa(reader: ByteReader): Uint8Array {
  const bits = reader.uint16('AK keyBits')
  if (bits !== 2048 && bits !== 3072 && bits !== 4096) throw new FormatError('AK keyBits', `is ${bits}`)
  const exponent = reader.uint32('AK exponent')
  // 0 stands for the default, 65537.
  if (exponent !== 0 && exponent !== 65537) throw new FormatError('AK exponent', `is ${exponent}, expected 65537`)
  const length = reader.uint16('AK modulus')
  if (length !== bits / 8) throw new FormatError('AK modulus', `has ${length} bytes for ${bits} bits`)
  const modulus = reader.take(length, 'AK modulus')
  if (modulus[0] === undefined || modulus[0] < 0x80) throw new FormatError('AK modulus', `is shorter than ${bits} bits`)
  return rsaSpki(modulus, Uint8Array.of(1, 0, 1))
}

function readEcc(reader: ByteReader): Uint8Array {
  const id = reader.uint16('AK curve')
  const curve = curves[id]
  if (curve === undefined) throw new FormatError('AK curve', `is ${id}, expected NIST P-256, P-384 or P-521`)
  const kdf = reader.uint16('AK kdf')
  if (kdf !== tpmAlgorithm.null) throw new FormatError('AK kdf', 'is not null')
  const point = ['AK x', 'AK y'].map((field) => {
    const length = reader.uint16(field)
    if (length !== curve.length) throw new FormatError(field, `has ${length} bytes, expected ${curve.length}`)
    return reader.take(length, field)
  })
  const algorithm = der(derTag.sequence, derOid('1.2.840.10045.2.1'), derOid(curve.oid))
  return der(derTag.sequence, algorithm, der(derTag.bitString, Uint8Array.of(0, 4), ...point))
}

function unsigned(bytes: Uint8Array): Uint8Array {
  return der(derTag.integer, bytes[0] !== undefined && bytes[0] >= 0x80 ? concatBytes(Uint8Array.of(0), bytes) : bytes)
}
