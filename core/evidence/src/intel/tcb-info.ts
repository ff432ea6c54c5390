import { FormatError, type Json } from '@cella/bytes'
import { type TcbStatus, tcbStatuses } from '../claims.ts'
import {
  type Fields,
  hexOf,
  integerOf,
  listOf,
  objectOf,
  parseSigned,
  type SignedJson,
  textOf,
  timeOf,
} from './json.ts'
import { type TcbComponents, tcbComponentCount } from './pck.ts'

// Intel PCS API, version 3 (TCB info v2) and version 4 (TCB info v3): “Get TCB Info”.

const tcbInfoBytesMax = 131_072
const levelCountMax = 64
const moduleCountMax = 16
const advisoryCountMax = 128

/** What Intel says of a level of firmware. */
export interface TcbRating {
  readonly status: TcbStatus
  readonly advisories: readonly string[]
  /** Unix seconds: all advisories up to then that are enforced have been considered. */
  readonly date: number
}

export interface PlatformTcbLevel extends TcbRating {
  readonly sgx: TcbComponents
  readonly pceSvn: number
  /** In TCB infos for TDX. */
  readonly tdx: TcbComponents | undefined
}

/** A level of a QE's or TDX module's security version. */
export interface SvnLevel extends TcbRating {
  readonly svn: number
}

/** What a TDX module must be to be Intel's. Byte strings in lower-case hexadecimal, as the report has the bytes. */
export interface TdxModuleIdentity {
  /** 48 bytes. */
  readonly mrSigner: string
  /** 8 bytes each. */
  readonly attributes: string
  readonly attributesMask: string
}

interface VersionedTdxModuleIdentity extends TdxModuleIdentity {
  /** `TDX_01`: the module's major version in two upper-case hexadecimal digits. */
  readonly id: string
  /** Best first. */
  readonly levels: readonly SvnLevel[]
}

/** Intel's rating of a platform's firmware. Its signature has not been verified. */
export interface TcbInfo {
  readonly tee: 'sgx' | 'tdx'
  readonly version: 2 | 3
  /** Unix seconds, both inclusive. */
  readonly issuedAt: number
  readonly nextUpdate: number
  /** 6 and 2 bytes, lower-case hexadecimal. */
  readonly fmspc: string
  readonly pceId: string
  readonly evaluation: number
  /** For modules of major version 0. */
  readonly tdxModule: TdxModuleIdentity | undefined
  readonly tdxModules: readonly VersionedTdxModuleIdentity[]
  /** Best first, whatever the order of the source. */
  readonly levels: readonly PlatformTcbLevel[]
}

/**
 * Reads the answer of the PCS, `{"tcbInfo":…,"signature":…}`, at most 128 KiB. Members that are not read are passed
 * over: Intel adds some, and its signature covers them. Throws FormatError.
 */
export function parseTcbInfo(bytes: Uint8Array, field: string): SignedJson<TcbInfo> {
  return parseSigned(bytes, { field, member: 'tcbInfo', bytesMax: tcbInfoBytesMax, read: readTcbInfo })
}

function readTcbInfo(info: Fields, field: string): TcbInfo {
  const version = integerOf(info.version, `${field}.version`, 255)
  if (version !== 2 && version !== 3)
    throw new FormatError(`${field}.version`, `is ${version}, versions 2 and 3 are read`)
  // Version 2 knows SGX alone and does not say it.
  const id = version === 2 ? 'SGX' : textOf(info.id, `${field}.id`)
  if (id !== 'SGX' && id !== 'TDX') throw new FormatError(`${field}.id`, `is ${id}, expected SGX or TDX`)
  const type = integerOf(info.tcbType, `${field}.tcbType`, 255)
  if (type !== 0) throw new FormatError(`${field}.tcbType`, `is ${type}, expected 0`)
  const tee = id === 'SGX' ? 'sgx' : 'tdx'
  const modules = info.tdxModuleIdentities === undefined ? [] : info.tdxModuleIdentities
  const levels = listOf(info.tcbLevels, `${field}.tcbLevels`, levelCountMax).map((level, at) =>
    readPlatformLevel(level, { version, tee, field: `${field}.tcbLevels[${at}]` }),
  )
  if (levels.length === 0) throw new FormatError(`${field}.tcbLevels`, 'is empty')
  return {
    tee,
    version,
    issuedAt: timeOf(info.issueDate, `${field}.issueDate`),
    nextUpdate: timeOf(info.nextUpdate, `${field}.nextUpdate`),
    fmspc: hexOf(info.fmspc, 6, `${field}.fmspc`),
    pceId: hexOf(info.pceId, 2, `${field}.pceId`),
    evaluation: integerOf(info.tcbEvaluationDataNumber, `${field}.tcbEvaluationDataNumber`, 0xffffffff),
    tdxModule: info.tdxModule === undefined ? undefined : readModule(info.tdxModule, `${field}.tdxModule`),
    tdxModules: listOf(modules, `${field}.tdxModuleIdentities`, moduleCountMax).map((module, at) =>
      readVersionedModule(module, `${field}.tdxModuleIdentities[${at}]`),
    ),
    levels: levels.sort(descending),
  }
}

function readPlatformLevel(
  value: Json,
  { version, tee, field }: { version: 2 | 3; tee: 'sgx' | 'tdx'; field: string },
): PlatformTcbLevel {
  const level = objectOf(value, field)
  const tcb = objectOf(level.tcb, `${field}.tcb`)
  return {
    ...readRating(level, field),
    sgx:
      version === 3
        ? readComponents(tcb.sgxtcbcomponents, `${field}.tcb.sgxtcbcomponents`)
        : Array.from({ length: tcbComponentCount }, (_, at) => {
            const name = `sgxtcbcomp${String(at + 1).padStart(2, '0')}svn`
            return integerOf(tcb[name], `${field}.tcb.${name}`, 255)
          }),
    pceSvn: integerOf(tcb.pcesvn, `${field}.tcb.pcesvn`, 65_535),
    tdx: tee === 'tdx' ? readComponents(tcb.tdxtcbcomponents, `${field}.tcb.tdxtcbcomponents`) : undefined,
  }
}

function readComponents(value: Json | undefined, field: string): number[] {
  const components = listOf(value, field, tcbComponentCount)
  if (components.length !== tcbComponentCount) {
    throw new FormatError(field, `has ${components.length} entries, expected ${tcbComponentCount}`)
  }
  return components.map((entry, at) => integerOf(objectOf(entry, `${field}[${at}]`).svn, `${field}[${at}].svn`, 255))
}

function readModule(value: Json, field: string): TdxModuleIdentity {
  const module = objectOf(value, field)
  return {
    mrSigner: hexOf(module.mrsigner, 48, `${field}.mrsigner`),
    attributes: hexOf(module.attributes, 8, `${field}.attributes`),
    attributesMask: hexOf(module.attributesMask, 8, `${field}.attributesMask`),
  }
}

function readVersionedModule(value: Json, field: string): VersionedTdxModuleIdentity {
  const module = objectOf(value, field)
  const id = textOf(module.id, `${field}.id`).toUpperCase()
  if (!/^TDX_[0-9A-F]{2}$/.test(id)) throw new FormatError(`${field}.id`, 'is not TDX_ and two hexadecimal digits')
  return { ...readModule(value, field), id, levels: readSvnLevels(module.tcbLevels, `${field}.tcbLevels`) }
}

/** `[{tcb: {isvsvn}, tcbDate, tcbStatus, advisoryIDs?}]`, best first. */
export function readSvnLevels(value: Json | undefined, field: string): SvnLevel[] {
  return listOf(value, field, levelCountMax)
    .map((entry, at) => {
      const level = objectOf(entry, `${field}[${at}]`)
      const tcb = objectOf(level.tcb, `${field}[${at}].tcb`)
      return {
        ...readRating(level, `${field}[${at}]`),
        svn: integerOf(tcb.isvsvn, `${field}[${at}].tcb.isvsvn`, 65_535),
      }
    })
    .sort((a, b) => b.svn - a.svn)
}

function readRating(level: Fields, field: string): TcbRating {
  const status = textOf(level.tcbStatus, `${field}.tcbStatus`)
  if (!(tcbStatuses as readonly string[]).includes(status)) {
    throw new FormatError(`${field}.tcbStatus`, `is ${status}, which is unknown`)
  }
  const advisories = level.advisoryIDs === undefined ? [] : level.advisoryIDs
  return {
    status: status as TcbStatus,
    advisories: listOf(advisories, `${field}.advisoryIDs`, advisoryCountMax).map((id, at) =>
      textOf(id, `${field}.advisoryIDs[${at}]`),
    ),
    date: timeOf(level.tcbDate, `${field}.tcbDate`),
  }
}

/** A level that another one includes comes after it; the order of the rest is Intel's: SGX components, TDX components, PCE. */
function descending(a: PlatformTcbLevel, b: PlatformTcbLevel): number {
  const left = [...a.sgx, ...(a.tdx ?? []), a.pceSvn]
  const right = [...b.sgx, ...(b.tdx ?? []), b.pceSvn]
  const at = left.findIndex((value, index) => value !== right[index])
  return at === -1 ? 0 : right[at]! - left[at]!
}
