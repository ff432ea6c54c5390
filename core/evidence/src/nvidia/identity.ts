import { decodeUtf8, encodeHex, equalBytes, FormatError } from '@cella/bytes'
import { type Certificate, dottedOid } from '../x509/certificate.ts'
import { DerReader, derOid, derTag } from '../x509/der.ts'
import type { NvidiaDevice } from './opaque.ts'

/** What the certificate of a report's key says about the device. */
export interface NvidiaIdentity {
  readonly device: NvidiaDevice
  /** `GH100`, `LS_10`. */
  readonly chip: string
  /** Common name of the certificate above it, which NVIDIA's own services call `hwmodel`. */
  readonly model: string
  /** The certificate's serial number, hexadecimal; NVIDIA's `ueid` is the same in decimal. */
  readonly serial: string
  /** SHA-384 of the firmware that owns the key. */
  readonly fwid: Uint8Array
}

const commonNameOid = '2.5.4.3'
// TCG DICE: the FWID of CompositeDeviceID on Hopper and LS10, of DiceTcbInfo on Blackwell.
const compositeDeviceOid = '2.23.133.5.4.1'
const tcbInfoOid = '2.23.133.5.4.1.1'
const sha384Oid = derOid('2.16.840.1.101.3.4.2.2')

/** Throws FormatError. Nothing about the certificates has been verified. */
export function readIdentity(leaf: Certificate, issuer: Certificate): NvidiaIdentity {
  const name = commonName(leaf.subject, 'certificate of the device')
  const chip = /^([A-Z]{2}_?[0-9]{2,3}[A-Z]?) /.exec(name)?.[1]
  if (chip === undefined) throw new FormatError('certificate of the device', 'does not name a chip')
  const device = chip.startsWith('LS') ? 'nvswitch' : chip.startsWith('G') ? 'gpu' : undefined
  if (device === undefined) throw new FormatError('certificate of the device', 'is of neither a GPU nor a switch')
  return {
    device,
    chip,
    model: commonName(issuer.subject, 'certificate above the device'),
    serial: encodeHex(leaf.serial),
    fwid: firmwareId(leaf),
  }
}

/** The one common name of a DER Name. */
function commonName(name: Uint8Array, field: string): string {
  const sets = new DerReader(name).enter(derTag.sequence, field)
  const found: string[] = []
  while (!sets.done) {
    const set = sets.enter(derTag.set, field)
    const attribute = set.enter(derTag.sequence, field)
    set.end(field)
    const oid = dottedOid(attribute.contents(derTag.oid, field), field)
    const tag = attribute.nextTag === derTag.printableString ? derTag.printableString : attribute.nextTag
    const value = attribute.contents(tag ?? derTag.utf8String, field)
    attribute.end(field)
    if (oid !== commonNameOid) continue
    if (tag !== derTag.utf8String && tag !== derTag.printableString) {
      throw new FormatError(field, 'has a common name of another type than UTF8String or PrintableString')
    }
    found.push(decodeUtf8(value, field))
  }
  if (found.length !== 1 || !/^[\x20-\x7e]{1,64}$/.test(found[0]!)) {
    throw new FormatError(field, 'has not one common name of printable characters')
  }
  return found[0]!
}

function firmwareId(leaf: Certificate): Uint8Array {
  const composite = leaf.extensions.get(compositeDeviceOid)
  if (composite !== undefined) return compositeFwid(composite.value)
  const tcbInfo = leaf.extensions.get(tcbInfoOid)
  if (tcbInfo !== undefined) return tcbInfoFwid(tcbInfo.value)
  throw new FormatError('certificate of the device', `has neither extension ${compositeDeviceOid} nor ${tcbInfoOid}`)
}

// SEQUENCE { version INTEGER, deviceID SubjectPublicKeyInfo, fwid FWID }
function compositeFwid(value: Uint8Array): Uint8Array {
  const field = `extension ${compositeDeviceOid}`
  const outer = new DerReader(value)
  const body = outer.enter(derTag.sequence, field)
  outer.end(field)
  if (!equalBytes(body.contents(derTag.integer, field), Uint8Array.of(1)))
    throw new FormatError(field, 'is not version 1')
  body.element(derTag.sequence, field)
  const fwid = readFwid(body, field)
  body.end(field)
  return fwid
}

// DiceTcbInfo, SEQUENCE of optional context-tagged fields; [6] is the list of FWIDs, and the first is the firmware's.
function tcbInfoFwid(value: Uint8Array): Uint8Array {
  const field = `extension ${tcbInfoOid}`
  const outer = new DerReader(value)
  const body = outer.enter(derTag.sequence, field)
  outer.end(field)
  let found: Uint8Array | undefined
  let last = -1
  while (!body.done) {
    const tag = body.nextTag!
    const number = tag & 0x1f
    if ((tag & 0xc0) !== 0x80 || number <= last) throw new FormatError(field, 'has fields that are not in their order')
    last = number
    const contents = body.contents(tag, field)
    if (tag !== 0xa6) continue
    const list = new DerReader(contents)
    found = readFwid(list, field)
    while (!list.done) readFwid(list, field)
  }
  if (found === undefined) throw new FormatError(field, 'has no FWID')
  return found
}

// FWID ::= SEQUENCE { hashAlg OBJECT IDENTIFIER, digest OCTET STRING }
function readFwid(reader: DerReader, field: string): Uint8Array {
  const fwid = reader.enter(derTag.sequence, field)
  const algorithm = fwid.element(derTag.oid, field)
  const digest = fwid.contents(derTag.octetString, field)
  fwid.end(field)
  if (!equalBytes(algorithm, sha384Oid) || digest.length !== 48)
    throw new FormatError(field, 'has a FWID that is no SHA-384')
  return digest
}
