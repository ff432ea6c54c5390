import { ByteReader, concatBytes, FormatError } from '@cella/bytes'
import type { SnpCpuid } from './product.ts'

/** Bytes of an attestation report. AMD SEV-SNP firmware ABI (56860), table ATTESTATION_REPORT. */
export const snpReportLength = 0x4a0
/** The signature covers the bytes before this offset. */
export const snpSignedLength = 0x2a0

export interface SnpGuestPolicy {
  readonly abiMajor: number
  readonly abiMinor: number
  /** The guest may run where simultaneous multi-threading is on. */
  readonly smt: boolean
  /** A migration agent may be bound to the guest. */
  readonly migrationAgent: boolean
  /** The host may read and write the guest's memory. */
  readonly debug: boolean
  readonly singleSocket: boolean
  readonly cxlAllowed: boolean
  readonly memoryAes256Xts: boolean
  readonly raplDisabled: boolean
  readonly ciphertextHiding: boolean
  readonly pageSwapDisabled: boolean
}

export interface SnpPlatformInfo {
  readonly smt: boolean
  readonly tsme: boolean
  readonly ecc: boolean
  readonly raplDisabled: boolean
  readonly ciphertextHiding: boolean
  /** No two addresses reach the same memory (BadRAM, AMD-SB-3015). */
  readonly aliasCheckComplete: boolean
  readonly iommuWriteSafe: boolean
  readonly tio: boolean
}

export interface SnpFirmwareVersion {
  readonly major: number
  readonly minor: number
  readonly build: number
}

type SnpSigningKey = 'vcek' | 'vlek' | 'none'

/** The fields of a report. TCBs are raw here: their layout depends on the product. Nothing has been verified. */
export interface SnpReport {
  readonly version: 2 | 3 | 4 | 5
  readonly guestSvn: number
  readonly policy: SnpGuestPolicy
  /** 16 bytes each. */
  readonly familyId: Uint8Array
  readonly imageId: Uint8Array
  /** 0..3, or 0xffffffff for a report that the host asked for. */
  readonly vmpl: number
  /** 8 bytes each, layout by product: `parseTcb`. */
  readonly currentTcb: Uint8Array
  readonly reportedTcb: Uint8Array
  readonly committedTcb: Uint8Array
  readonly launchTcb: Uint8Array
  readonly platformInfo: SnpPlatformInfo
  readonly authorKeyEnabled: boolean
  /** The platform's owner masked the chip key: the firmware then signs nothing. */
  readonly maskChipKey: boolean
  readonly signingKey: SnpSigningKey
  /** 64 bytes. */
  readonly reportData: Uint8Array
  /** 48 bytes. */
  readonly measurement: Uint8Array
  /** 32 bytes. */
  readonly hostData: Uint8Array
  /** 48 bytes each. */
  readonly idKeyDigest: Uint8Array
  readonly authorKeyDigest: Uint8Array
  /** 32 bytes each. */
  readonly reportId: Uint8Array
  readonly reportIdMa: Uint8Array
  /** From version 3 on. */
  readonly cpuid: SnpCpuid | undefined
  /** 64 bytes; all zero where the platform masks it, from Turin on only the first 8 are set. */
  readonly chipId: Uint8Array
  readonly current: SnpFirmwareVersion
  readonly committed: SnpFirmwareVersion
  /** From version 5 on, 0 before. */
  readonly launchMitigation: bigint
  readonly currentMitigation: bigint
  /** r ‖ s, big-endian, 96 bytes. The report has them little-endian in 72 bytes each. */
  readonly signature: Uint8Array
}

/** Guest policy bits from 18 on. Bit 17 is reserved and must be one; 7:0 are the ABI's minor version, 15:8 its major. */
const policyBits: readonly (readonly [Exclude<keyof SnpGuestPolicy, 'abiMajor' | 'abiMinor'>, number])[] = [
  ['smt', 16],
  ['migrationAgent', 18],
  ['debug', 19],
  ['singleSocket', 20],
  ['cxlAllowed', 21],
  ['memoryAes256Xts', 22],
  ['raplDisabled', 23],
  ['ciphertextHiding', 24],
  ['pageSwapDisabled', 25],
]
// Bit 6 is reserved in older editions of the ABI and set by real Turin firmware.
const platformBits: readonly (readonly [keyof SnpPlatformInfo, number])[] = [
  ['smt', 0],
  ['tsme', 1],
  ['ecc', 2],
  ['raplDisabled', 3],
  ['ciphertextHiding', 4],
  ['aliasCheckComplete', 5],
  ['iommuWriteSafe', 6],
  ['tio', 7],
]
const signingKeys: Readonly<Record<number, SnpSigningKey>> = { 0: 'vcek', 1: 'vlek', 7: 'none' }

/**
 * Reads a report of version 2 to 5: exactly 1184 bytes, every reserved bit and byte as the ABI wants it. Keeps a copy.
 * Throws FormatError naming the field.
 */
export function parseSnpReport(bytes: Uint8Array): SnpReport {
  if (bytes.length !== snpReportLength) {
    throw new FormatError('report', `has ${bytes.length} bytes, expected ${snpReportLength}`)
  }
  const reader = new ByteReader(Uint8Array.from(bytes))
  const version = reader.uint32le('VERSION')
  if (version !== 2 && version !== 3 && version !== 4 && version !== 5) {
    throw new FormatError('VERSION', `is ${version}, versions 2 to 5 are read`)
  }
  const guestSvn = reader.uint32le('GUEST_SVN')
  const policy = parsePolicy(reader.uint64le('POLICY'))
  const familyId = reader.take(16, 'FAMILY_ID')
  const imageId = reader.take(16, 'IMAGE_ID')
  const vmpl = reader.uint32le('VMPL')
  if (vmpl > 3 && vmpl !== 0xffffffff) throw new FormatError('VMPL', `is ${vmpl}, expected 0 to 3`)
  const algorithm = reader.uint32le('SIGNATURE_ALGO')
  if (algorithm !== 1) throw new FormatError('SIGNATURE_ALGO', `is ${algorithm}, expected 1 (ECDSA P-384 with SHA-384)`)
  const currentTcb = reader.take(8, 'CURRENT_TCB')
  const platformInfo = parseBits(reader.uint64le('PLATFORM_INFO'), platformBits, 0xffn, 'PLATFORM_INFO')
  const flags = reader.uint32le('FLAGS')
  const signingKey = signingKeys[(flags >> 2) & 7]
  if (signingKey === undefined) throw new FormatError('SIGNING_KEY', `is ${(flags >> 2) & 7}, which is reserved`)
  if (flags > 0x1f) throw new FormatError('FLAGS', 'has a reserved bit set')
  zero(reader.take(4, 'reserved 0x4C'), 'reserved 0x4C')
  const reportData = reader.take(64, 'REPORT_DATA')
  const measurement = reader.take(48, 'MEASUREMENT')
  const hostData = reader.take(32, 'HOST_DATA')
  const idKeyDigest = reader.take(48, 'ID_KEY_DIGEST')
  const authorKeyDigest = reader.take(48, 'AUTHOR_KEY_DIGEST')
  const reportId = reader.take(32, 'REPORT_ID')
  const reportIdMa = reader.take(32, 'REPORT_ID_MA')
  const reportedTcb = reader.take(8, 'REPORTED_TCB')
  const cpuid = { family: reader.uint8('CPUID'), model: reader.uint8('CPUID'), stepping: reader.uint8('CPUID') }
  if (version === 2 && (cpuid.family || cpuid.model || cpuid.stepping)) {
    throw new FormatError('CPUID', 'is set in a report of version 2')
  }
  zero(reader.take(21, 'reserved 0x18B'), 'reserved 0x18B')
  const chipId = reader.take(64, 'CHIP_ID')
  const committedTcb = reader.take(8, 'COMMITTED_TCB')
  const current = parseFirmware(reader, 'CURRENT')
  const committed = parseFirmware(reader, 'COMMITTED')
  const launchTcb = reader.take(8, 'LAUNCH_TCB')
  const launchMitigation = reader.uint64le('LAUNCH_MIT_VECTOR')
  const currentMitigation = reader.uint64le('CURRENT_MIT_VECTOR')
  if (version < 5 && (launchMitigation || currentMitigation)) {
    throw new FormatError('MIT_VECTOR', `is set in a report of version ${version}`)
  }
  zero(reader.take(152, 'reserved 0x208'), 'reserved 0x208')
  const signature = concatBytes(parseScalar(reader, 'SIGNATURE.R'), parseScalar(reader, 'SIGNATURE.S'))
  zero(reader.take(368, 'reserved 0x330'), 'reserved 0x330')
  reader.end('report')
  return {
    version,
    guestSvn,
    policy,
    familyId,
    imageId,
    vmpl,
    currentTcb,
    reportedTcb,
    committedTcb,
    launchTcb,
    platformInfo,
    authorKeyEnabled: (flags & 1) !== 0,
    maskChipKey: (flags & 2) !== 0,
    signingKey,
    reportData,
    measurement,
    hostData,
    idKeyDigest,
    authorKeyDigest,
    reportId,
    reportIdMa,
    cpuid: version === 2 ? undefined : cpuid,
    chipId,
    current,
    committed,
    launchMitigation,
    currentMitigation,
    signature,
  }
}

/** The inverse of parseSnpReport. Throws RangeError for a field of another length. */
export function encodeSnpReport(report: SnpReport): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(snpReportLength)
  const view = new DataView(bytes.buffer)
  view.setUint32(0x00, report.version, true)
  view.setUint32(0x04, report.guestSvn, true)
  view.setBigUint64(0x08, encodePolicy(report.policy), true)
  view.setUint32(0x30, report.vmpl, true)
  view.setUint32(0x34, 1, true)
  view.setBigUint64(0x40, encodeBits(report.platformInfo, platformBits), true)
  const signingKey = { vcek: 0, vlek: 1, none: 7 }[report.signingKey]
  view.setUint32(0x48, (report.authorKeyEnabled ? 1 : 0) | (report.maskChipKey ? 2 : 0) | (signingKey << 2), true)
  if (report.cpuid) bytes.set([report.cpuid.family, report.cpuid.model, report.cpuid.stepping], 0x188)
  for (const [version, at] of [[report.current, 0x1e8] as const, [report.committed, 0x1ec] as const]) {
    bytes.set([version.build, version.minor, version.major], at)
  }
  view.setBigUint64(0x1f8, report.launchMitigation, true)
  view.setBigUint64(0x200, report.currentMitigation, true)
  const fields: readonly (readonly [number, number, Uint8Array])[] = [
    [0x010, 16, report.familyId],
    [0x020, 16, report.imageId],
    [0x038, 8, report.currentTcb],
    [0x050, 64, report.reportData],
    [0x090, 48, report.measurement],
    [0x0c0, 32, report.hostData],
    [0x0e0, 48, report.idKeyDigest],
    [0x110, 48, report.authorKeyDigest],
    [0x140, 32, report.reportId],
    [0x160, 32, report.reportIdMa],
    [0x180, 8, report.reportedTcb],
    [0x1a0, 64, report.chipId],
    [0x1e0, 8, report.committedTcb],
    [0x1f0, 8, report.launchTcb],
    [0x2a0, 48, Uint8Array.from(report.signature.subarray(0, 48)).reverse()],
    [0x2e8, 48, Uint8Array.from(report.signature.subarray(48)).reverse()],
  ]
  for (const [at, length, value] of fields) {
    if (value.length !== length) throw new RangeError(`report field at ${at} has ${value.length} bytes, not ${length}`)
    bytes.set(value, at)
  }
  return bytes
}

function parsePolicy(value: bigint): SnpGuestPolicy {
  if ((value & (1n << 17n)) === 0n) throw new FormatError('POLICY', 'has reserved bit 17 clear')
  return {
    abiMinor: Number(value & 0xffn),
    abiMajor: Number((value >> 8n) & 0xffn),
    ...parseBits<Omit<SnpGuestPolicy, 'abiMajor' | 'abiMinor'>>(value, policyBits, 0x3ffffffn, 'POLICY'),
  }
}

function encodePolicy(policy: SnpGuestPolicy): bigint {
  return BigInt(policy.abiMinor) | (BigInt(policy.abiMajor) << 8n) | (1n << 17n) | encodeBits(policy, policyBits)
}

function parseBits<Fields extends object>(
  value: bigint,
  bits: readonly (readonly [keyof Fields, number])[],
  known: bigint,
  field: string,
): Fields {
  if ((value & ~known) !== 0n) throw new FormatError(field, 'has a reserved bit set')
  return Object.fromEntries(bits.map(([name, bit]) => [name, (value & (1n << BigInt(bit))) !== 0n])) as Fields
}

function encodeBits<Fields extends object>(fields: Fields, bits: readonly (readonly [keyof Fields, number])[]): bigint {
  return bits.reduce((value, [name, bit]) => (fields[name] ? value | (1n << BigInt(bit)) : value), 0n)
}

function parseFirmware(reader: ByteReader, field: string): SnpFirmwareVersion {
  const [build, minor, major] = reader.take(3, field) as unknown as [number, number, number]
  zero(reader.take(1, `reserved after ${field}`), `reserved after ${field}`)
  return { major, minor, build }
}

/** 72 bytes little-endian, of which a P-384 scalar fills 48; returned big-endian. */
function parseScalar(reader: ByteReader, field: string): Uint8Array {
  const scalar = reader.take(72, field)
  zero(scalar.subarray(48), `${field} above 384 bits`)
  return scalar.slice(0, 48).reverse()
}

function zero(bytes: Uint8Array, field: string): void {
  for (const byte of bytes) if (byte !== 0) throw new FormatError(field, 'must be zero')
}
