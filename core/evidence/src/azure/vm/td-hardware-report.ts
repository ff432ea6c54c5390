import { ByteReader, FormatError } from '@cella/bytes'

/**
 * The parts of a TDREPORT (Intel TDX module ABI, TDREPORT_STRUCT, 1024 bytes) that a quote of the same TD repeats. Its
 * MAC is checked by no one outside of its machine, so it proves nothing by itself.
 */
export interface TdHardwareReport {
  /** 64 bytes. */
  readonly reportData: Uint8Array
  /** 208 bytes: ATTRIBUTES, XFAM, MRTD, MRCONFIGID, MROWNER, MROWNERCONFIG. What a TD keeps from its launch on. */
  readonly launch: Uint8Array
}

/** Throws FormatError. The memory is the input's. */
export function parseTdHardwareReport(bytes: Uint8Array): TdHardwareReport {
  const reader = new ByteReader(bytes)
  const type = reader.uint8('TDREPORT type')
  if (type !== 0x81) throw new FormatError('TDREPORT type', `is 0x${type.toString(16)}, expected 0x81 (TDX)`)
  // REPORTMACSTRUCT: rest of the type, reserved, CPUSVN, hashes of TEE_TCB_INFO and TEE_INFO.
  reader.take(127, 'REPORTMACSTRUCT')
  const reportData = reader.take(64, 'REPORTDATA')
  // Reserved, MAC; TEE_TCB_INFO, reserved.
  reader.take(64, 'REPORTMACSTRUCT')
  reader.take(256, 'TEE_TCB_INFO')
  const launch = reader.take(208, 'TDINFO')
  reader.take(304, 'TDINFO') // RTMRs, SERVTD_HASH, reserved.
  reader.end('TDREPORT')
  return { reportData, launch }
}
