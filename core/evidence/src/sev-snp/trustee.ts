import { decodeUtf8, FormatError, type Json } from '@cella/bytes'
import { reading } from '../error.ts'
import type { SnpEvidenceEntry } from './entry.ts'
import { hasTurinLayout, productOfCpuid, type SnpCpuid, type SnpProduct } from './product.ts'
import { snpEvidenceOf } from './readers.ts'
import { encodeTcb } from './tcb.ts'

const textBytesMax = 262_144

/**
 * Evidence of the JSON that CoCo's attestation agent sends for `snp` (the `sev` crate's serde form:
 * `attestation_report` as an object, `cert_chain` as `{cert_type, data}`). The report's 1184 bytes are put together
 * again, so that the signature over them decides whether it was read right. Certificates that it lacks (it brings the
 * VCEK alone) come from `extra`, PEM or DER. Reports of version 2 don't say their product and are refused. Throws
 * EvidenceError.
 */
export function snpEvidenceOfTrustee(json: Uint8Array, extra: readonly Uint8Array[] = []): SnpEvidenceEntry {
  return reading(() => {
    if (json.length > textBytesMax)
      throw new FormatError('evidence', `has ${json.length} bytes, at most ${textBytesMax}`)
    let value: Json
    try {
      value = JSON.parse(decodeUtf8(json, 'evidence'))
    } catch (cause) {
      throw new FormatError('evidence', 'is not JSON', { cause })
    }
    const evidence = fields(value, 'evidence')
    const report = encodeReport(fields(evidence.attestation_report, 'attestation_report'))
    const chain = evidence.cert_chain ?? []
    if (!Array.isArray(chain) || chain.length > 8) throw new FormatError('cert_chain', 'is not a list of at most 8')
    const certificates = chain.map((entry, at) => bytes(fields(entry, `cert_chain[${at}]`).data, `cert_chain[${at}]`))
    return snpEvidenceOf(report, [...certificates, ...extra])
  })
}

type Fields = { readonly [name: string]: Json }

function encodeReport(report: Fields): Uint8Array {
  const whole = new Uint8Array(1184)
  const view = new DataView(whole.buffer)
  const put = (at: number, name: string, length: number): void => {
    whole.set(bytes(report[name], name, length), at)
  }
  const version = integer(report.version, 'version', 0xffffffff)
  const cpuid = {
    family: integer(report.cpuid_fam_id, 'cpuid_fam_id', 255),
    model: integer(report.cpuid_mod_id, 'cpuid_mod_id', 255),
    stepping: integer(report.cpuid_step, 'cpuid_step', 255),
  } satisfies SnpCpuid
  const product = productOfCpuid(cpuid)
  if (product === undefined) throw new FormatError('cpuid_mod_id', 'is of no known product')
  view.setUint32(0x00, version, true)
  view.setUint32(0x04, integer(report.guest_svn, 'guest_svn', 0xffffffff), true)
  view.setBigUint64(0x08, BigInt(integer(report.policy, 'policy')), true)
  put(0x10, 'family_id', 16)
  put(0x20, 'image_id', 16)
  view.setUint32(0x30, integer(report.vmpl, 'vmpl', 0xffffffff), true)
  view.setUint32(0x34, integer(report.sig_algo, 'sig_algo', 0xffffffff), true)
  whole.set(tcb(report.current_tcb, product, 'current_tcb'), 0x38)
  view.setBigUint64(0x40, BigInt(integer(report.plat_info, 'plat_info')), true)
  view.setUint32(0x48, integer(report.key_info, 'key_info', 0xffffffff), true)
  put(0x50, 'report_data', 64)
  put(0x90, 'measurement', 48)
  put(0xc0, 'host_data', 32)
  put(0xe0, 'id_key_digest', 48)
  put(0x110, 'author_key_digest', 48)
  put(0x140, 'report_id', 32)
  put(0x160, 'report_id_ma', 32)
  whole.set(tcb(report.reported_tcb, product, 'reported_tcb'), 0x180)
  whole.set([cpuid.family, cpuid.model, cpuid.stepping], 0x188)
  put(0x1a0, 'chip_id', 64)
  whole.set(tcb(report.committed_tcb, product, 'committed_tcb'), 0x1e0)
  whole.set(firmware(report.current, 'current'), 0x1e8)
  whole.set(firmware(report.committed, 'committed'), 0x1ec)
  whole.set(tcb(report.launch_tcb, product, 'launch_tcb'), 0x1f0)
  for (const [name, at] of [['launch_mit_vector', 0x1f8] as const, ['current_mit_vector', 0x200] as const]) {
    const vector = report[name] ?? 0
    view.setBigUint64(at, BigInt(integer(vector, name)), true)
  }
  const signature = fields(report.signature, 'signature')
  whole.set(bytes(signature.r, 'signature.r', 72), 0x2a0)
  whole.set(bytes(signature.s, 'signature.s', 72), 0x2e8)
  return whole
}

function tcb(value: Json | undefined, product: SnpProduct, field: string): Uint8Array {
  const levels = fields(value, field)
  const level = (name: string): number => integer(levels[name], `${field}.${name}`, 255)
  const common = {
    bootLoader: level('bootloader'),
    tee: level('tee'),
    snp: level('snp'),
    microcode: level('microcode'),
  }
  return encodeTcb(hasTurinLayout(product) ? { ...common, fmc: level('fmc') } : common, product)
}

function firmware(value: Json | undefined, field: string): Uint8Array {
  const version = fields(value, field)
  return Uint8Array.from(['build', 'minor', 'major'], (name) => integer(version[name], `${field}.${name}`, 255))
}

function fields(value: Json | undefined, field: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new FormatError(field, 'is not a JSON object')
  }
  return value as Fields
}

function integer(value: Json | undefined, field: string, max: number = Number.MAX_SAFE_INTEGER): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > max) {
    throw new FormatError(field, 'is not an integer in its range')
  }
  return value
}

function bytes(value: Json | undefined, field: string, length?: number): Uint8Array {
  if (!Array.isArray(value) || value.length > 8192 || (length !== undefined && value.length !== length)) {
    throw new FormatError(field, length === undefined ? 'is not a list of bytes' : `is not a list of ${length} bytes`)
  }
  return Uint8Array.from(value, (byte, at) => integer(byte, `${field}[${at}]`, 255))
}
