import { concatBytes, decodeHex, encodeHex, encodeUtf8 } from '@cella/bytes'
import { sha256 } from '@cella/primitives'
import type { TcbStatus } from '../claims.ts'
import { der, derInteger, derOid, derTag } from '../x509/der.ts'
import { encodeTime } from '../x509/time.ts'
import type { EnclaveIdentity } from './enclave-identity.ts'
import { intelNameForms, intelNames, type PckClaims, sgxExtensionOid } from './pck.ts'
import { intelVendorId, quoteHeaderLength } from './quote.ts'
import { encodeSgxReport, type SgxReport } from './sgx-report.ts'
import type { SvnLevel, TcbInfo, TcbRating } from './tcb-info.ts'
import { encodeTdReport, type TdReport } from './td-report.ts'

// The inverse of the readers: what a simulated platform and tests issue. No verifier needs it, so it has an entry of its
// own and stays out of their bundles. It holds no key: each `sign` is ECDSA P-256 with SHA-256, r ‖ s, 64 bytes.

export type { EnclaveIdentity } from './enclave-identity.ts'
export { intelNames, type PckClaims, p256Spki } from './pck.ts'
export type { SgxReport } from './sgx-report.ts'
export type { PlatformTcbLevel, SvnLevel, TcbInfo, TcbRating, TdxModuleIdentity } from './tcb-info.ts'
export type { TdReport } from './td-report.ts'

/** ECDSA P-256 with SHA-256 over `message`: r ‖ s, big-endian, 64 bytes. */
export type IntelSigner = (message: Uint8Array) => Uint8Array | Promise<Uint8Array>

export interface IssueTimes {
  /** Unix seconds, both inclusive. */
  readonly notBefore: number
  readonly notAfter: number
}

interface CertificateOptions extends IssueTimes {
  /** DER SubjectPublicKeyInfo of a P-256 key. */
  readonly spki: Uint8Array
  /** 1 to 2³¹−1. */
  readonly serial: number
  /** By the issuer's key. */
  readonly sign: IntelSigner
}

/** The two CAs that certify platforms. */
export type PckCa = 'platform' | 'processor'

/** A root CA's own certificate, DER, in the form of the Intel SGX Root CA. */
export function issueIntelRoot(options: CertificateOptions): Promise<Uint8Array> {
  return issue({ ...options, issuer: intelNames.root, subject: intelNames.root, extensions: caExtensions(1) })
}

/** A PCK Platform or Processor CA, signed by the root. */
export function issuePckCa(options: CertificateOptions & { ca: PckCa }): Promise<Uint8Array> {
  return issue({ ...options, issuer: intelNames.root, subject: intelNames[options.ca], extensions: caExtensions(0) })
}

/** A PCK certificate, signed by the PCK CA. */
export function issuePck(options: CertificateOptions & { ca: PckCa; claims: PckClaims }): Promise<Uint8Array> {
  return issue({
    ...options,
    issuer: intelNames[options.ca],
    subject: intelNames.pck,
    extensions: [...leafExtensions(), extension(sgxExtensionOid, pckExtension(options.claims))],
  })
}

/** A TCB signing certificate, signed by the root: its key signs TCB infos and identities. */
export function issueTcbSigning(options: CertificateOptions): Promise<Uint8Array> {
  return issue({ ...options, issuer: intelNames.root, subject: intelNames.tcbSigning, extensions: leafExtensions() })
}

/** A CRL of the root or of a PCK CA, DER. Serial numbers as `issue…` was given them; times in unix seconds. */
export async function issueIntelCrl(options: {
  issuer: 'root' | PckCa
  number: number
  thisUpdate: number
  nextUpdate: number
  revoked: readonly { readonly serial: number; readonly at: number }[]
  sign: IntelSigner
}): Promise<Uint8Array> {
  const revoked = options.revoked.map(({ serial, at }) => der(derTag.sequence, derInteger(serial), encodeTime(at)))
  const tbs = der(
    derTag.sequence,
    derInteger(1),
    ecdsaWithSha256,
    intelNameForms(intelNames[options.issuer])[0],
    encodeTime(options.thisUpdate),
    encodeTime(options.nextUpdate),
    ...(revoked.length === 0 ? [] : [der(derTag.sequence, ...revoked)]),
    der(derTag.context0, der(derTag.sequence, extension('2.5.29.20', derInteger(options.number)))),
  )
  return signed(tbs, options.sign)
}

interface Issue extends CertificateOptions {
  readonly issuer: string
  readonly subject: string
  readonly extensions: readonly Uint8Array[]
}

const ecdsaWithSha256 = der(derTag.sequence, derOid('1.2.840.10045.4.3.2'))

function issue(options: Issue): Promise<Uint8Array> {
  const tbs = der(
    derTag.sequence,
    der(derTag.context0, derInteger(2)),
    derInteger(options.serial),
    ecdsaWithSha256,
    intelNameForms(options.issuer)[0],
    der(derTag.sequence, encodeTime(options.notBefore), encodeTime(options.notAfter)),
    intelNameForms(options.subject)[0],
    options.spki,
    der(derTag.context3, der(derTag.sequence, ...options.extensions)),
  )
  return signed(tbs, options.sign)
}

async function signed(tbs: Uint8Array, sign: IntelSigner): Promise<Uint8Array> {
  const signature = derSignature(await sign(tbs))
  return der(derTag.sequence, tbs, ecdsaWithSha256, der(derTag.bitString, concatBytes(Uint8Array.of(0), signature)))
}

/** ECDSA-Sig-Value of r ‖ s. RFC 3279 §2.2.3. */
function derSignature(raw: Uint8Array): Uint8Array {
  if (raw.length !== 64) throw new RangeError(`signature of ${raw.length} bytes, expected r ‖ s of 64`)
  return der(derTag.sequence, unsigned(raw.subarray(0, 32)), unsigned(raw.subarray(32)))
}

function unsigned(bytes: Uint8Array): Uint8Array {
  const start = bytes.findIndex((byte) => byte !== 0)
  const magnitude = start === -1 ? Uint8Array.of(0) : bytes.subarray(start)
  return der(derTag.integer, magnitude[0]! >= 0x80 ? concatBytes(Uint8Array.of(0), magnitude) : magnitude)
}

function extension(oid: string, value: Uint8Array, critical = false): Uint8Array {
  const flag = critical ? [der(derTag.boolean, Uint8Array.of(0xff))] : []
  return der(derTag.sequence, derOid(oid), ...flag, der(derTag.octetString, value))
}

function caExtensions(pathLength: number): Uint8Array[] {
  const constraints = der(derTag.sequence, der(derTag.boolean, Uint8Array.of(0xff)), derInteger(pathLength))
  return [
    // keyCertSign and cRLSign, one unused bit less than a byte: RFC 5280 §4.2.1.3.
    extension('2.5.29.15', der(derTag.bitString, Uint8Array.of(1, 0x06)), true),
    extension('2.5.29.19', constraints, true),
  ]
}

function leafExtensions(): Uint8Array[] {
  return [
    // digitalSignature and nonRepudiation.
    extension('2.5.29.15', der(derTag.bitString, Uint8Array.of(6, 0xc0)), true),
    extension('2.5.29.19', der(derTag.sequence), true),
  ]
}

function pckExtension(claims: PckClaims): Uint8Array {
  const member = (name: string, value: Uint8Array): Uint8Array =>
    der(derTag.sequence, derOid(`${sgxExtensionOid}.${name}`), value)
  const octets = (hex: string): Uint8Array => der(derTag.octetString, decodeHex(hex, 'PCK claim'))
  const flag = (name: string, value: boolean | undefined): Uint8Array[] =>
    value === undefined ? [] : [member(name, der(derTag.boolean, Uint8Array.of(value ? 0xff : 0)))]
  const { components, platformInstanceId } = claims
  if (components.length !== 16) throw new RangeError(`components: ${components.length}, expected 16`)
  const tcb = [
    ...components.map((svn, at) => member(`2.${at + 1}`, derInteger(svn))),
    member('2.17', derInteger(claims.pceSvn)),
    member('2.18', der(derTag.octetString, claims.cpuSvn)),
  ]
  const sgxType = { standard: 0, scalable: 1, 'scalable-with-integrity': 2 }[claims.sgxType]
  const configuration = [
    ...flag('7.1', claims.dynamicPlatform),
    ...flag('7.2', claims.cachedKeys),
    ...flag('7.3', claims.smtEnabled),
  ]
  return der(
    derTag.sequence,
    member('1', octets(claims.ppid)),
    member('2', der(derTag.sequence, ...tcb)),
    member('3', octets(claims.pceId)),
    member('4', octets(claims.fmspc)),
    member('5', der(derTag.enumerated, Uint8Array.of(sgxType))),
    ...(platformInstanceId === undefined ? [] : [member('6', octets(platformInstanceId))]),
    ...(configuration.length === 0 ? [] : [member('7', der(derTag.sequence, ...configuration))]),
  )
}

/** A TCB info as the PCS answers it, JSON bytes. Levels are written in the order given. */
export function issueTcbInfo(info: TcbInfo, sign: IntelSigner): Promise<Uint8Array> {
  const { tee, version } = info
  const module = (identity: NonNullable<TcbInfo['tdxModule']>) => ({
    mrsigner: upper(identity.mrSigner),
    attributes: upper(identity.attributes),
    attributesMask: upper(identity.attributesMask),
  })
  return signedJson('tcbInfo', sign, {
    ...(version === 3 ? { id: tee === 'sgx' ? 'SGX' : 'TDX' } : {}),
    version,
    issueDate: isoTime(info.issuedAt),
    nextUpdate: isoTime(info.nextUpdate),
    fmspc: info.fmspc,
    pceId: info.pceId,
    tcbType: 0,
    tcbEvaluationDataNumber: info.evaluation,
    ...(info.tdxModule ? { tdxModule: module(info.tdxModule) } : {}),
    ...(info.tdxModules.length === 0
      ? {}
      : {
          tdxModuleIdentities: info.tdxModules.map((identity) => ({
            id: identity.id,
            ...module(identity),
            tcbLevels: identity.levels.map(svnLevel),
          })),
        }),
    tcbLevels: info.levels.map((level) => ({
      tcb: {
        ...(version === 3
          ? { sgxtcbcomponents: level.sgx.map((svn) => ({ svn })) }
          : Object.fromEntries(
              level.sgx.map((svn, at) => [`sgxtcbcomp${String(at + 1).padStart(2, '0')}svn`, svn] as const),
            )),
        pcesvn: level.pceSvn,
        ...(level.tdx ? { tdxtcbcomponents: level.tdx.map((svn) => ({ svn })) } : {}),
      },
      ...rating(level),
    })),
  })
}

/** A QE or TD QE identity as the PCS answers it, JSON bytes. */
export function issueEnclaveIdentity(identity: EnclaveIdentity, sign: IntelSigner): Promise<Uint8Array> {
  return signedJson('enclaveIdentity', sign, {
    id: identity.id,
    version: identity.version,
    issueDate: isoTime(identity.issuedAt),
    nextUpdate: isoTime(identity.nextUpdate),
    tcbEvaluationDataNumber: identity.evaluation,
    miscselect: upper(identity.miscSelect),
    miscselectMask: upper(identity.miscSelectMask),
    attributes: upper(identity.attributes),
    attributesMask: upper(identity.attributesMask),
    mrsigner: upper(identity.mrSigner),
    isvprodid: identity.productId,
    tcbLevels: identity.levels.map(svnLevel),
  })
}

function svnLevel(level: SvnLevel): object {
  return { tcb: { isvsvn: level.svn }, ...rating(level) }
}

function rating({ status, advisories, date }: TcbRating): {
  tcbDate: string
  tcbStatus: TcbStatus
  advisoryIDs?: readonly string[]
} {
  return {
    tcbDate: isoTime(date),
    tcbStatus: status,
    ...(advisories.length === 0 ? {} : { advisoryIDs: advisories }),
  }
}

async function signedJson(member: string, sign: IntelSigner, statement: object): Promise<Uint8Array> {
  const json = JSON.stringify(statement)
  const signature = await sign(encodeUtf8(json))
  return encodeUtf8(`{"${member}":${json},"signature":"${encodeHex(signature)}"}`)
}

function upper(hex: string): string {
  return hex.toUpperCase()
}

function isoTime(seconds: number): string {
  return new Date(seconds * 1000).toISOString().replace(/\.\d+Z$/, 'Z')
}

/** A body as the caller knows it; attributes and XFAM count in their raw form. */
export type IssuedBody =
  | { readonly kind: 'sgx'; readonly report: Omit<SgxReport, 'kind' | 'attributes'> }
  | { readonly kind: 'tdx'; readonly report: Omit<TdReport, 'kind' | 'tdAttributes' | 'xfam'> }

/** The quoting enclave of a simulated platform and the keys that it works with. */
export interface IssuingEnclave {
  /** Its report but for the report data, which `issueIntelQuote` fills. */
  readonly report: Omit<SgxReport, 'kind' | 'attributes' | 'reportData'>
  /** At most 65 535 bytes; Intel's has 32. */
  readonly authData: Uint8Array
  /** x ‖ y of the attestation key, 64 bytes, and its signer. */
  readonly attestationKey: Uint8Array
  readonly sign: IntelSigner
  /** By the key of the PCK certificate. */
  readonly certify: IntelSigner
  /** What names the PCK certificate: the chain, PEM text in bytes (type 5), or other data of the type given. */
  readonly certification: { readonly type: number; readonly data: Uint8Array }
}

/** A quote of version 3 (SGX), 4 (TD 1.0) or 5. Throws RangeError for a body that the version does not have. */
export async function issueIntelQuote(
  version: 3 | 4 | 5,
  body: IssuedBody,
  enclave: IssuingEnclave,
): Promise<Uint8Array<ArrayBuffer>> {
  const report = body.kind === 'sgx' ? encodeSgxReport(body.report) : encodeTdReport(body.report)
  if ((version === 3 && body.kind !== 'sgx') || (version === 4 && report.length !== 584)) {
    throw new RangeError(`version ${version} has no body of ${body.kind} with ${report.length} bytes`)
  }
  const header = new Uint8Array(quoteHeaderLength)
  const view = new DataView(header.buffer)
  view.setUint16(0, version, true)
  view.setUint16(2, 2, true)
  view.setUint32(4, body.kind === 'sgx' ? 0 : 0x81, true)
  header.set(decodeHex(intelVendorId, 'vendor'), 12)
  const type = body.kind === 'sgx' ? 1 : report.length === 584 ? 2 : 3
  const descriptor = version === 5 ? [uint16le(type), uint32le(report.length)] : []
  const message = concatBytes(header, ...descriptor, report)

  const binding = new Uint8Array(64)
  binding.set(sha256(concatBytes(enclave.attestationKey, enclave.authData)))
  const qeReport = encodeSgxReport({ ...enclave.report, reportData: binding })
  const { certification } = enclave
  const certified = concatBytes(
    qeReport,
    await enclave.certify(qeReport),
    uint16le(enclave.authData.length),
    enclave.authData,
    uint16le(certification.type),
    uint32le(certification.data.length),
    certification.data,
  )
  const signatureData = concatBytes(
    await enclave.sign(message),
    enclave.attestationKey,
    ...(version === 3 ? [] : [uint16le(6), uint32le(certified.length)]),
    certified,
  )
  return concatBytes(message, uint32le(signatureData.length), signatureData)
}

/** PEM text of certificates as Intel puts it into a quote. */
export function pemChain(certificates: readonly Uint8Array[]): Uint8Array {
  return encodeUtf8(
    certificates
      .map((certificate) => {
        const lines = certificate.toBase64().match(/.{1,64}/g) ?? []
        return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`
      })
      .join(''),
  )
}

function uint16le(value: number): Uint8Array {
  return Uint8Array.of(value & 0xff, value >> 8)
}

function uint32le(value: number): Uint8Array {
  return Uint8Array.of(value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, value >>> 24)
}
