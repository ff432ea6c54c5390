import { concatBytes, encodeHex, encodeUtf8, equalBytes, FormatError } from '@cella/bytes'
import { type Certificate, dottedOid } from '../x509/certificate.ts'
import { DerReader, der, derOid, derTag, smallInteger } from '../x509/der.ts'

// Intel SGX PCK Certificate and CRL Profile Specification, revision 1.5, §1.3.5.

export const sgxExtensionOid = '1.2.840.113741.1.13.1'

/** SVNs of the sixteen components of an SGX or TDX TCB, in their order. */
export type TcbComponents = readonly number[]
export const tcbComponentCount = 16

/** What Intel certified of the platform when it issued the PCK certificate. */
export interface PckClaims {
  /** Names the platform, 16 bytes in lower-case hexadecimal. */
  readonly ppid: string
  readonly components: TcbComponents
  readonly pceSvn: number
  /** 16 bytes. */
  readonly cpuSvn: Uint8Array
  /** 2 bytes, 6 bytes, in lower-case hexadecimal. */
  readonly pceId: string
  readonly fmspc: string
  readonly sgxType: 'standard' | 'scalable' | 'scalable-with-integrity'
  /** Of certificates of the Platform CA; what the certificate does not say is `undefined`. */
  readonly platformInstanceId: string | undefined
  readonly dynamicPlatform: boolean | undefined
  readonly cachedKeys: boolean | undefined
  readonly smtEnabled: boolean | undefined
}

const sgxTypes = ['standard', 'scalable', 'scalable-with-integrity'] as const

export const intelNames = {
  root: 'Intel SGX Root CA',
  platform: 'Intel SGX PCK Platform CA',
  processor: 'Intel SGX PCK Processor CA',
  pck: 'Intel SGX PCK Certificate',
  tcbSigning: 'Intel SGX TCB Signing',
} as const

const printable = (text: string): Uint8Array => der(derTag.printableString, encodeUtf8(text))
const utf8 = (text: string): Uint8Array => der(derTag.utf8String, encodeUtf8(text))

/** DER of the Name of an Intel certificate as Intel writes it, and the same with every string a UTF8String. */
export function intelNameForms(commonName: string): readonly [Uint8Array, Uint8Array] {
  const name = (text: (value: string) => Uint8Array): Uint8Array =>
    der(
      derTag.sequence,
      ...[
        ['2.5.4.3', text(commonName)] as const,
        ['2.5.4.10', text('Intel Corporation')] as const,
        ['2.5.4.7', text('Santa Clara')] as const,
        ['2.5.4.8', text('CA')] as const,
        // A country is a PrintableString by its definition, RFC 5280 appendix A.1.
        ['2.5.4.6', printable('US')] as const,
      ].map(([oid, value]) => der(derTag.set, der(derTag.sequence, derOid(oid), value))),
    )
  return [name(utf8), name(printable)]
}

/** Whether the DER Name is the one of Intel's with this common name. */
export function isIntelName(name: Uint8Array, commonName: (typeof intelNames)[keyof typeof intelNames]): boolean {
  return intelNameForms(commonName).some((form) => equalBytes(form, name))
}

/** Whether the certificate carries Intel's SGX extension: a PCK certificate says by it which platform it is of. */
export function isPck(certificate: Certificate): boolean {
  return certificate.extensions.has(sgxExtensionOid)
}

/** Of certificates for the same key the one that lasts longest leads: Intel's root has two. */
export function latestFirst(certificates: readonly Certificate[]): Certificate[] {
  return [...certificates].sort((a, b) => b.notAfter - a.notAfter)
}

/** The claims of a PCK certificate. Throws FormatError where the extension lacks one, has one twice or is no DER. */
export function parsePckClaims(certificate: Certificate): PckClaims {
  const extension = certificate.extensions.get(sgxExtensionOid)
  if (extension === undefined) throw new FormatError('PCK certificate', 'has no SGX extension')
  const outer = new DerReader(extension.value)
  const members = parseMembers(outer.element(derTag.sequence, 'SGX extension'), 'SGX extension')
  outer.end('SGX extension')
  const tcb = parseMembers(need(members, '2').element, 'SGX extension TCB', '2')
  const configuration = members.has('7')
    ? parseMembers(need(members, '7').element, 'SGX configuration', '7')
    : undefined
  const sgxType = sgxTypes[enumerated(need(members, '5'))]
  if (sgxType === undefined) throw new FormatError('SGX type', 'is unknown')
  const components = Array.from({ length: tcbComponentCount }, (_, at) => svn(need(tcb, `2.${at + 1}`), 255))
  return {
    ppid: encodeHex(octets(need(members, '1'), 16)),
    components,
    pceSvn: svn(need(tcb, '2.17'), 65_535),
    cpuSvn: octets(need(tcb, '2.18'), 16),
    pceId: encodeHex(octets(need(members, '3'), 2)),
    fmspc: encodeHex(octets(need(members, '4'), 6)),
    sgxType,
    platformInstanceId: members.has('6') ? encodeHex(octets(need(members, '6'), 16)) : undefined,
    dynamicPlatform: flag(configuration?.get('7.1')),
    cachedKeys: flag(configuration?.get('7.2')),
    smtEnabled: flag(configuration?.get('7.3')),
  }
}

interface Member {
  readonly field: string
  /** The value, DER, tag and length included. */
  readonly element: Uint8Array
}

/** The `{oid, value}` pairs of a SEQUENCE, by what follows the extension's own identifier; others are passed over. */
function parseMembers(sequence: Uint8Array, field: string, under?: string): Map<string, Member> {
  const prefix = `${sgxExtensionOid}.`
  const outer = new DerReader(sequence)
  const list = outer.enter(derTag.sequence, field)
  outer.end(field)
  const members = new Map<string, Member>()
  while (!list.done) {
    const pair = list.enter(derTag.sequence, field)
    const oid = dottedOid(pair.contents(derTag.oid, field), field)
    const tag = pair.nextTag
    if (tag === undefined) throw new FormatError(`${field} ${oid}`, 'has no value')
    const element = pair.element(tag, `${field} ${oid}`)
    pair.end(`${field} ${oid}`)
    const name = oid.startsWith(prefix) ? oid.slice(prefix.length) : oid
    if (under !== undefined && !name.startsWith(`${under}.`))
      throw new FormatError(`${field} ${oid}`, 'is out of place')
    if (members.has(name)) throw new FormatError(`${field} ${oid}`, 'occurs twice')
    members.set(name, { field: `${field} ${oid}`, element })
  }
  return members
}

function need(members: ReadonlyMap<string, Member>, name: string): Member {
  const member = members.get(name)
  if (member === undefined) throw new FormatError('SGX extension', `has no ${sgxExtensionOid}.${name}`)
  return member
}

function contents({ element, field }: Member, tag: number): Uint8Array {
  return new DerReader(element).contents(tag, field)
}

function octets(member: Member, length: number): Uint8Array {
  const bytes = contents(member, derTag.octetString)
  if (bytes.length !== length) throw new FormatError(member.field, `has ${bytes.length} bytes, expected ${length}`)
  return bytes
}

function svn(member: Member, max: number): number {
  const value = smallInteger(contents(member, derTag.integer), member.field)
  if (value > max) throw new FormatError(member.field, `is ${value}, at most ${max}`)
  return value
}

function enumerated(member: Member): number {
  return smallInteger(contents(member, derTag.enumerated), member.field)
}

function flag(member: Member | undefined): boolean | undefined {
  if (member === undefined) return undefined
  const [value, ...rest] = contents(member, derTag.boolean)
  if (rest.length > 0 || (value !== 0 && value !== 0xff)) throw new FormatError(member.field, 'is no DER BOOLEAN')
  return value === 0xff
}

const p256Prefix = Uint8Array.fromHex('3059301306072a8648ce3d020106082a8648ce3d03010703420004')

/** DER SubjectPublicKeyInfo (RFC 5480) of a P-256 key given as x ‖ y, 64 bytes. Whether it is on the curve is not checked. */
export function p256Spki(point: Uint8Array): Uint8Array {
  if (point.length !== 64) throw new RangeError(`P-256 point of ${point.length} bytes, expected 64`)
  return concatBytes(p256Prefix, point)
}
