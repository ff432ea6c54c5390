import { ByteReader, decodeBase64url, encodeHex, FormatError } from '@cella/bytes'
import { sha256, sha384, sha512 } from '@cella/primitives'
import { EvidenceError } from '../../error.ts'
import { type JsonObject, jsonObject, parseForeignJsonObject, requiredText } from '../../jwt/json.ts'
import { rsaSpki } from '../../tpm/keys.ts'

/** Bytes of the NV index 0x01400001. The report is shorter, zeros follow it. */
const hclReportBytesMax = 4096
const hclHardwareReportLength = 1184
const headerLength = 32
const runtimeHeaderLength = 20
const variableDataStart = headerLength + hclHardwareReportLength + runtimeHeaderLength
const keyCountMax = 8

const hashes: Readonly<Record<number, (bytes: Uint8Array) => Uint8Array>> = { 1: sha256, 2: sha384, 3: sha512 }

export interface AzureVmConfiguration {
  /** `null` where the report does not say. */
  readonly secureBoot: boolean | null
  readonly consoleEnabled: boolean | null
  readonly tpmEnabled: boolean | null
  /** The virtual TPM's state outlives the machine's run. */
  readonly tpmPersisted: boolean | null
  readonly vmId: string | null
  /** SHA-256 of a certificate that Azure put into the configuration, base64url. */
  readonly rootCertificateThumbprint: string | null
}

/** What the paravisor of an Azure confidential VM says of its virtual TPM. Nothing has been verified. */
export interface HclReport {
  readonly version: 1 | 2
  /** SNP: an attestation report of 1184 bytes. TDX: a TDREPORT of 1024 bytes, which only its own machine can check. */
  readonly kind: 'sev-snp' | 'tdx'
  readonly hardwareReport: Uint8Array
  /** What REPORT_DATA has to begin with, followed by zeros: digest of the variable data. */
  readonly variableDataDigest: Uint8Array
  /** DER SubjectPublicKeyInfo of the attestation key: RSA-2048. */
  readonly attestationKey: Uint8Array
  readonly configuration: AzureVmConfiguration
  /** 64 bytes that the guest wrote to the NV index 0x01400002, lower-case hexadecimal; `null` where it is absent. */
  readonly userData: string | null
}

/**
 * Reads an HCL report: all lengths exact, reserved bytes and whatever follows it zero, at most 4096 bytes. Keeps a copy.
 * Throws FormatError; ERR_EVIDENCE_UNSUPPORTED for hardware other than SEV-SNP and TDX.
 */
export function parseHclReport(bytes: Uint8Array): HclReport {
  if (bytes.length > hclReportBytesMax) {
    throw new FormatError('HCL report', `has ${bytes.length} bytes, at most ${hclReportBytesMax} are read`)
  }
  const copy = Uint8Array.from(bytes)
  const reader = new ByteReader(copy)
  if (encodeHex(reader.take(4, 'HCL signature')) !== '48434c41') throw new FormatError('HCL signature', 'is not "HCLA"')
  const version = reader.uint32le('HCL version')
  if (version !== 1 && version !== 2) throw new FormatError('HCL version', `is ${version}, expected 1 or 2`)
  const reportSize = reader.uint32le('HCL report size')
  const requestType = reader.uint32le('HCL request type')
  if (requestType !== 2) throw new FormatError('HCL request type', `is ${requestType}, expected 2 (attestation key)`)
  const status = reader.uint32le('HCL status')
  if (status !== 0) throw new FormatError('HCL status', `is ${status}, expected 0`)
  zero(reader.take(12, 'HCL reserved'), 'HCL reserved')
  const hardware = reader.take(hclHardwareReportLength, 'hardware report')
  const dataSize = reader.uint32le('runtime data size')
  const dataVersion = reader.uint32le('runtime data version')
  if (dataVersion !== 1) throw new FormatError('runtime data version', `is ${dataVersion}, expected 1`)
  const kind = kindOf(reader.uint32le('report type'))
  const hashType = reader.uint32le('hash type')
  const hash = hashes[hashType]
  if (hash === undefined) throw new FormatError('hash type', `is ${hashType}, expected 1 (SHA-256), 2 or 3`)
  const length = reader.uint32le('variable data size')
  const variableData = reader.take(length, 'variable data')
  if (dataSize !== runtimeHeaderLength + length) {
    throw new FormatError('runtime data size', `is ${dataSize} with ${length} bytes of variable data`)
  }
  if (reportSize !== variableDataStart + length) {
    throw new FormatError('HCL report size', `is ${reportSize}, the report ends at ${variableDataStart + length}`)
  }
  zero(reader.take(reader.remaining, 'after the HCL report'), 'after the HCL report')
  return {
    version,
    kind,
    hardwareReport: kind === 'sev-snp' ? hardware : tdReportOf(hardware),
    variableDataDigest: hash(variableData),
    ...parseVariableData(variableData),
  }
}

function kindOf(type: number): HclReport['kind'] {
  if (type === 2) return 'sev-snp'
  if (type === 4) return 'tdx'
  throw new EvidenceError(
    'ERR_EVIDENCE_UNSUPPORTED',
    `HCL report is of hardware type ${type}; read are 2 (SEV-SNP) and 4 (TDX), others (VBS, trusted launch) have no hardware report`,
  )
}

/** A TDREPORT fills 1024 of the bytes. */
function tdReportOf(hardware: Uint8Array): Uint8Array {
  zero(hardware.subarray(1024), 'after the TDREPORT')
  return hardware.subarray(0, 1024)
}

// JSON: keys (JWK, by kid), vm-configuration, user-data. Azure adds members, so unknown ones are passed over: the digest
// covers all of them, and only the paravisor writes them.
function parseVariableData(bytes: Uint8Array): Pick<HclReport, 'attestationKey' | 'configuration' | 'userData'> {
  const data = parseForeignJsonObject(bytes, 'variable data', hclReportBytesMax)
  const { keys } = data
  if (!Array.isArray(keys) || keys.length > keyCountMax) throw new FormatError('variable data.keys', 'is not a list')
  const found = keys.map((key, at) => jsonObject(key, `keys[${at}]`)).filter(({ kid }) => kid === 'HCLAkPub')
  const [key] = found
  if (key === undefined || found.length > 1) {
    throw new FormatError('variable data.keys', `have ${found.length} keys HCLAkPub, expected one`)
  }
  return {
    attestationKey: rsaKey(key),
    configuration: configurationOf(jsonObject(data['vm-configuration'] ?? {}, 'vm-configuration')),
    userData: userDataOf(data),
  }
}

function rsaKey(key: JsonObject): Uint8Array {
  if (key.kty !== 'RSA') throw new FormatError('HCLAkPub.kty', 'is not RSA')
  if (key.e !== 'AQAB') throw new FormatError('HCLAkPub.e', 'is not AQAB (65537)')
  const modulus = decodeBase64url(requiredText(key, 'n', 'HCLAkPub'), 'HCLAkPub.n')
  if (modulus.length !== 256 || modulus[0]! < 0x80) throw new FormatError('HCLAkPub.n', 'is not a modulus of 2048 bits')
  return rsaSpki(modulus, Uint8Array.of(1, 0, 1))
}

function configurationOf(object: JsonObject): AzureVmConfiguration {
  const flag = (name: string): boolean | null => {
    const value = object[name] ?? null
    if (value !== null && typeof value !== 'boolean') throw new FormatError(`vm-configuration.${name}`, 'is no boolean')
    return value
  }
  const text = (name: string): string | null => {
    const value = object[name] ?? null
    if (value !== null && typeof value !== 'string') throw new FormatError(`vm-configuration.${name}`, 'is not text')
    return value
  }
  return {
    secureBoot: flag('secure-boot'),
    consoleEnabled: flag('console-enabled'),
    tpmEnabled: flag('tpm-enabled'),
    tpmPersisted: flag('tpm-persisted'),
    vmId: text('vmUniqueId'),
    rootCertificateThumbprint: text('root-cert-thumbprint'),
  }
}

function userDataOf(data: JsonObject): string | null {
  const value = data['user-data'] ?? null
  if (value === null) return null
  if (typeof value !== 'string' || !/^[0-9a-fA-F]{128}$/.test(value)) {
    throw new FormatError('variable data.user-data', 'is not 64 bytes in hexadecimal')
  }
  return value.toLowerCase()
}

function zero(bytes: Uint8Array, field: string): void {
  for (const byte of bytes) if (byte !== 0) throw new FormatError(field, 'must be zero')
}
