import { ByteReader } from '@cella/bytes'
import { putFields, setBits } from './sgx-report.ts'

/** Bytes of a TD's report body: TD 1.0, and TD 1.5, which adds two fields. */
export const tdReportLength = 584
export const tdReport15Length = 648

/** TDATTRIBUTES. Intel TDX module ABI (348551), “ATTRIBUTES”. */
export interface TdAttributes {
  /** Any bit of the group TD Under Debug (7:0): the host can look into such a TD. Bit 0 is DEBUG itself. */
  readonly debug: boolean
  readonly lass: boolean
  /** A page that the host takes away stops the TD instead of raising #VE in it. */
  readonly septVeDisable: boolean
  readonly migratable: boolean
  readonly pks: boolean
  readonly keyLocker: boolean
  readonly perfmon: boolean
  /** A bit is set that none of these names. */
  readonly unknown: boolean
}

/** The body of a TD quote. Nothing about it has been verified. */
export interface TdReport {
  readonly kind: 'tdx'
  /** Of the TDX module that launched the TD, 16 bytes: its SVN, its major version, then the SEAM loader and others. */
  readonly teeTcbSvn: Uint8Array
  /** 48 bytes each. */
  readonly mrSeam: Uint8Array
  readonly mrSignerSeam: Uint8Array
  /** 8 bytes each, as the report has them. */
  readonly seamAttributes: Uint8Array
  readonly rawTdAttributes: Uint8Array
  readonly tdAttributes: TdAttributes
  readonly rawXfam: Uint8Array
  /** Numbers of the extended features that the TD may use, ascending. */
  readonly xfam: readonly number[]
  /** 48 bytes each. */
  readonly mrTd: Uint8Array
  readonly mrConfigId: Uint8Array
  readonly mrOwner: Uint8Array
  readonly mrOwnerConfig: Uint8Array
  readonly rtmrs: readonly [Uint8Array, Uint8Array, Uint8Array, Uint8Array]
  /** 64 bytes. */
  readonly reportData: Uint8Array
  /** TD 1.5: of the module that runs now, which may have been replaced under the TD, 16 bytes. */
  readonly teeTcbSvn2: Uint8Array | undefined
  /** TD 1.5: of the service TDs that are bound to it, 48 bytes; zero where there are none. */
  readonly mrServiceTd: Uint8Array | undefined
}

/** Reads exactly 584 or 648 bytes; shares their memory. Throws FormatError. */
export function parseTdReport(bytes: Uint8Array): TdReport {
  const reader = new ByteReader(bytes)
  const teeTcbSvn = reader.take(16, 'TEE_TCB_SVN')
  const mrSeam = reader.take(48, 'MRSEAM')
  const mrSignerSeam = reader.take(48, 'MRSIGNERSEAM')
  const seamAttributes = reader.take(8, 'SEAMATTRIBUTES')
  const rawTdAttributes = reader.take(8, 'TDATTRIBUTES')
  const rawXfam = reader.take(8, 'XFAM')
  const mrTd = reader.take(48, 'MRTD')
  const mrConfigId = reader.take(48, 'MRCONFIGID')
  const mrOwner = reader.take(48, 'MROWNER')
  const mrOwnerConfig = reader.take(48, 'MROWNERCONFIG')
  const rtmrs = [
    reader.take(48, 'RTMR0'),
    reader.take(48, 'RTMR1'),
    reader.take(48, 'RTMR2'),
    reader.take(48, 'RTMR3'),
  ] as const
  const reportData = reader.take(64, 'REPORTDATA')
  const later = bytes.length > tdReportLength
  const teeTcbSvn2 = later ? reader.take(16, 'TEE_TCB_SVN_2') : undefined
  const mrServiceTd = later ? reader.take(48, 'MRSERVICETD') : undefined
  reader.end('TD report')
  return {
    kind: 'tdx',
    teeTcbSvn,
    mrSeam,
    mrSignerSeam,
    seamAttributes,
    rawTdAttributes,
    tdAttributes: parseTdAttributes(rawTdAttributes),
    rawXfam,
    xfam: setBits(rawXfam),
    mrTd,
    mrConfigId,
    mrOwner,
    mrOwnerConfig,
    rtmrs,
    reportData,
    teeTcbSvn2,
    mrServiceTd,
  }
}

function parseTdAttributes(raw: Uint8Array): TdAttributes {
  const reader = new ByteReader(raw)
  const low = reader.uint32le('TDATTRIBUTES')
  const high = reader.uint32le('TDATTRIBUTES')
  const bit = (at: number): boolean => ((low >>> at) & 1) === 1
  return {
    debug: (low & 0xff) !== 0,
    lass: bit(27),
    septVeDisable: bit(28),
    migratable: bit(29),
    pks: bit(30),
    keyLocker: bit(31),
    perfmon: high >>> 31 === 1,
    unknown: (low & 0x07ffff00) !== 0 || (high & 0x7fffffff) !== 0,
  }
}

/** The inverse of parseTdReport; the raw attributes and XFAM count. Throws RangeError for a field of another length. */
export function encodeTdReport(report: Omit<TdReport, 'kind' | 'tdAttributes' | 'xfam'>): Uint8Array<ArrayBuffer> {
  const { teeTcbSvn2, mrServiceTd } = report
  if ((teeTcbSvn2 === undefined) !== (mrServiceTd === undefined)) {
    throw new RangeError('TEE_TCB_SVN_2 and MRSERVICETD come together')
  }
  const bytes = new Uint8Array(mrServiceTd ? tdReport15Length : tdReportLength)
  putFields(bytes, [
    [0, 16, report.teeTcbSvn],
    [16, 48, report.mrSeam],
    [64, 48, report.mrSignerSeam],
    [112, 8, report.seamAttributes],
    [120, 8, report.rawTdAttributes],
    [128, 8, report.rawXfam],
    [136, 48, report.mrTd],
    [184, 48, report.mrConfigId],
    [232, 48, report.mrOwner],
    [280, 48, report.mrOwnerConfig],
    ...report.rtmrs.map((rtmr, at) => [328 + at * 48, 48, rtmr] as const),
    [520, 64, report.reportData],
    ...(teeTcbSvn2 && mrServiceTd ? [[584, 16, teeTcbSvn2] as const, [600, 48, mrServiceTd] as const] : []),
  ])
  return bytes
}
