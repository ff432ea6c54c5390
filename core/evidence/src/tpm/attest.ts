import { ByteReader, FormatError } from '@cella/bytes'
import { type TpmHash, tpmHashOf } from './algorithms.ts'

const quoteBytesMax = 2048
const extraDataMax = 66 // TPM2B_DATA holds a TPMT_HA: 2 bytes and the longest digest.
const bankCountMax = 4
/** PCRs of the PC Client profile: 0 to 23. */
export const pcrCount = 24

export interface PcrBank {
  readonly hash: TpmHash
  /** PCR numbers, ascending. */
  readonly pcrs: readonly number[]
}

/** A TPMS_ATTEST of type TPM_ST_ATTEST_QUOTE (TPM 2.0 Library Part 2, §10.12.12). Nothing has been verified. */
export interface TpmQuote {
  /** Hash of the key's name, which is the longest digest that the qualifying data can have been; absent where none is named. */
  readonly nameAlgorithm: TpmHash | undefined
  /** Name of the signing key, qualified by its parents, whole; empty where none is named. */
  readonly qualifiedSigner: Uint8Array
  /** What the caller gave as qualifying data: 0 to 66 bytes. */
  readonly extraData: Uint8Array
  /** Milliseconds that the TPM has been powered. */
  readonly clock: bigint
  /** TPM resets (reboots) and restarts (resumes) so far. */
  readonly resetCount: number
  readonly restartCount: number
  /** The clock has not gone back. */
  readonly safe: boolean
  /** The vendor's number, 64 bits. */
  readonly firmwareVersion: bigint
  readonly banks: readonly PcrBank[]
  /** Of the selected PCRs' values, bank by bank, in ascending order; by the hash of the signature. */
  readonly pcrDigest: Uint8Array
}

/**
 * Reads a TPMS_ATTEST that is a quote: whole, nothing after it, at most 2048 bytes. Keeps a copy. Another magic than
 * TPM_GENERATED is refused: a restricted key signs such bytes only when the TPM itself made them. Throws FormatError.
 */
export function parseTpmQuote(bytes: Uint8Array): TpmQuote {
  if (bytes.length > quoteBytesMax) {
    throw new FormatError('quote', `has ${bytes.length} bytes, at most ${quoteBytesMax} are read`)
  }
  const reader = new ByteReader(Uint8Array.from(bytes))
  const magic = reader.uint32('magic')
  if (magic !== 0xff544347) throw new FormatError('magic', 'is not TPM_GENERATED (ff544347)')
  const type = reader.uint16('type')
  if (type !== 0x8018) throw new FormatError('type', `is 0x${type.toString(16)}, expected 0x8018 (quote)`)
  const qualifiedSigner = reader.take(reader.uint16('qualifiedSigner'), 'qualifiedSigner')
  const nameAlgorithm = parseName(qualifiedSigner)
  const extraData = sized(reader, extraDataMax, 'extraData')
  const clock = reader.uint64('clock')
  const resetCount = reader.uint32('resetCount')
  const restartCount = reader.uint32('restartCount')
  const safe = reader.uint8('safe')
  if (safe > 1) throw new FormatError('safe', `is ${safe}, expected 0 or 1`)
  const firmwareVersion = reader.uint64('firmwareVersion')
  const banks = parseSelection(reader)
  const pcrDigest = sized(reader, 64, 'pcrDigest')
  reader.end('quote')
  return {
    nameAlgorithm,
    qualifiedSigner,
    extraData,
    clock,
    resetCount,
    restartCount,
    safe: safe === 1,
    firmwareVersion,
    banks,
    pcrDigest,
  }
}

// TPM2B_NAME of a key: algorithm u16 and a digest of its length. Software that emulates a TPM leaves it empty.
function parseName(name: Uint8Array): TpmHash | undefined {
  if (name.length === 0) return undefined
  const reader = new ByteReader(name)
  const hash = tpmHashOf(reader.uint16('qualifiedSigner'), 'qualifiedSigner')
  reader.take(hash.length, 'qualifiedSigner')
  reader.end('qualifiedSigner')
  return hash.name
}

// TPML_PCR_SELECTION: count u32, then as many of hash u16, size u8, bitmap (PCR 0 is bit 0 of the first byte).
function parseSelection(reader: ByteReader): PcrBank[] {
  const count = reader.uint32('pcrSelect.count')
  if (count < 1 || count > bankCountMax) {
    throw new FormatError('pcrSelect.count', `is ${count}, expected 1 to ${bankCountMax}`)
  }
  const banks: PcrBank[] = []
  for (let at = 0; at < count; at++) {
    const { name: hash } = tpmHashOf(reader.uint16('pcrSelect.hash'), 'pcrSelect.hash')
    if (banks.some((bank) => bank.hash === hash)) throw new FormatError('pcrSelect', `selects the bank ${hash} twice`)
    const size = reader.uint8('pcrSelect.sizeofSelect')
    if (size !== 3) throw new FormatError('pcrSelect.sizeofSelect', `is ${size}, expected 3 (24 PCRs)`)
    const bitmap = reader.take(size, 'pcrSelect.pcrSelect')
    const pcrs = Array.from({ length: pcrCount }, (_, pcr) => pcr).filter(
      (pcr) => ((bitmap[pcr >> 3] ?? 0) >> (pcr & 7)) & 1,
    )
    banks.push({ hash, pcrs })
  }
  return banks
}

function sized(reader: ByteReader, max: number, field: string): Uint8Array {
  const length = reader.uint16(field)
  if (length > max) throw new FormatError(field, `has ${length} bytes, at most ${max}`)
  return reader.take(length, field)
}
