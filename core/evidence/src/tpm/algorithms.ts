import { FormatError } from '@cella/bytes'
import { dangerousSha1, type PublicKeyAlgorithm, sha256, sha384, sha512 } from '@cella/primitives'

/** Hashes that a TPM signs or names keys with, and that its PCR banks have. */
export type TpmHash = 'sha1' | 'sha256' | 'sha384' | 'sha512'

interface TpmHashInfo {
  readonly id: number
  readonly name: TpmHash
  readonly length: number
  readonly of: (bytes: Uint8Array) => Uint8Array
}

// TCG Algorithm Registry, TPM_ALG_ID.
const hashes: readonly TpmHashInfo[] = [
  { id: 0x0004, name: 'sha1', length: 20, of: dangerousSha1 },
  { id: 0x000b, name: 'sha256', length: 32, of: sha256 },
  { id: 0x000c, name: 'sha384', length: 48, of: sha384 },
  { id: 0x000d, name: 'sha512', length: 64, of: sha512 },
]

/** TPM_ALG_ID of keys and signature schemes. */
export const tpmAlgorithm = { rsa: 0x0001, null: 0x0010, rsassa: 0x0014, rsapss: 0x0016, ecdsa: 0x0018, ecc: 0x0023 }

/** The hash of a TPM_ALG_ID. Throws FormatError for one that is not read (SM3, SHA-3). */
export function tpmHashOf(id: number, field: string): TpmHashInfo {
  const hash = hashes.find((known) => known.id === id)
  if (hash === undefined) throw new FormatError(field, `is the algorithm ${id}, read are SHA-1, SHA-256, -384 and -512`)
  return hash
}

export function tpmHashNamed(name: TpmHash): TpmHashInfo {
  return hashes.find((known) => known.name === name)!
}

/** The signature algorithms of quotes. RSASSA-PSS with a salt as long as the hash. */
export const quoteAlgorithms = [
  'rsa-pkcs1-sha1',
  'rsa-pkcs1-sha256',
  'rsa-pkcs1-sha384',
  'rsa-pkcs1-sha512',
  'rsa-pss-sha256',
  'rsa-pss-sha384',
  'rsa-pss-sha512',
  'ecdsa-p256-sha256',
  'ecdsa-p384-sha384',
  'ecdsa-p521-sha512',
] as const satisfies readonly PublicKeyAlgorithm[]
export type QuoteAlgorithm = (typeof quoteAlgorithms)[number]
