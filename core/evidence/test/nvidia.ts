import { createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { concatBytes, encodeUtf8 } from '@cella/bytes'
import { dangerousSha1, digestOf } from '@cella/primitives'
import type { NvidiaEntry } from '../src/nvidia/verify.ts'
import type { OtherRoot } from '../src/roots.ts'
import { DerReader, der, derInteger, derOid, derTag } from '../src/x509/der.ts'
import { encodeTime } from '../src/x509/time.ts'

// A vendor of NVIDIA's kind of our own: a chain of five P-384 certificates and reports that its device signs.

export const now = 1_790_000_000
const window = { notBefore: now - 1000, notAfter: now + 1000 }

export type Key = KeyObject
export function newKey(): Key {
  return generateKeyPairSync('ec', { namedCurve: 'secp384r1' }).privateKey
}

export function spkiOf(key: Key): Uint8Array {
  return new Uint8Array(createPublicKey(key).export({ format: 'der', type: 'spki' }))
}

export const ecdsaSha384 = der(derTag.sequence, derOid('1.2.840.10045.4.3.3'))

export function signed(tbs: Uint8Array, key: Key, ...more: Uint8Array[]): Uint8Array {
  const signature = new Uint8Array(sign('sha384', tbs, key))
  return der(derTag.sequence, tbs, ecdsaSha384, der(derTag.bitString, Uint8Array.of(0), signature), ...more)
}

export function name(commonName: string): Uint8Array {
  const attribute = der(derTag.sequence, derOid('2.5.4.3'), der(derTag.utf8String, encodeUtf8(commonName)))
  return der(derTag.sequence, der(derTag.set, attribute))
}

function extension(oid: string, critical: boolean, value: Uint8Array): Uint8Array {
  const flag = critical ? [der(derTag.boolean, Uint8Array.of(0xff))] : []
  return der(derTag.sequence, derOid(oid), ...flag, der(derTag.octetString, value))
}

export const usage = {
  sign: extension('2.5.29.15', true, der(derTag.bitString, Uint8Array.of(7, 0x80))),
  ca: extension('2.5.29.15', true, der(derTag.bitString, Uint8Array.of(1, 0x06))),
  ocsp: extension('2.5.29.37', false, der(derTag.sequence, derOid('1.3.6.1.5.5.7.3.9'))),
}
export const caFlag = extension('2.5.29.19', true, der(derTag.sequence, der(derTag.boolean, Uint8Array.of(0xff))))

/** CompositeDeviceID with this FWID. */
export function fwidExtension(fwid: Uint8Array, spki: Uint8Array): Uint8Array {
  const id = der(derTag.sequence, derOid('2.16.840.1.101.3.4.2.2'), der(derTag.octetString, fwid))
  return extension('2.23.133.5.4.1', false, der(derTag.sequence, derInteger(1), spki, id))
}

/** DiceTcbInfo with this FWID first. */
export function tcbInfoExtension(fwid: Uint8Array): Uint8Array {
  const id = (digest: Uint8Array) =>
    der(derTag.sequence, derOid('2.16.840.1.101.3.4.2.2'), der(derTag.octetString, digest))
  const list = der(0xa6, id(fwid), id(new Uint8Array(48)))
  return extension('2.23.133.5.4.1.1', false, der(derTag.sequence, der(0x80, encodeUtf8('NVIDIA')), list))
}

export interface CertificateParts {
  readonly subject: string
  readonly issuer: string
  readonly key: Key
  readonly signer: Key
  readonly serial?: number
  readonly extensions: readonly Uint8Array[]
  readonly notBefore?: number
  readonly notAfter?: number
}

export function certificate(parts: CertificateParts): Uint8Array {
  const tbs = der(
    derTag.sequence,
    der(derTag.context0, derInteger(2)),
    derInteger(parts.serial ?? 7),
    ecdsaSha384,
    name(parts.issuer),
    der(
      derTag.sequence,
      encodeTime(parts.notBefore ?? window.notBefore),
      encodeTime(parts.notAfter ?? window.notAfter),
    ),
    name(parts.subject),
    spkiOf(parts.key),
    der(derTag.context3, der(derTag.sequence, ...parts.extensions)),
  )
  return signed(tbs, parts.signer)
}

export const keys = { root: newKey(), identity: newKey(), provisioner: newKey(), brom: newKey(), leaf: newKey() }
export const rootOf = (key: Key, simulated = false): OtherRoot => ({
  tee: 'nvidia-gpu',
  spki: digestOf(spkiOf(key)),
  simulated,
})
export const roots: readonly OtherRoot[] = [rootOf(keys.root)]
export const fwid = new Uint8Array(48).fill(0xf1)

const ca = [caFlag, usage.ca]
/** Device first, root last. */
export function chain(leaf: Partial<CertificateParts> = {}, others: Partial<CertificateParts> = {}): Uint8Array[] {
  const model = leaf.subject?.split(' ')[0] ?? 'GH100'
  const names = [
    `${model} A01 GSP FMC LF`,
    `${model} A01 GSP BROM`,
    'Provisioner ICA',
    'Identity',
    'Device Identity CA',
  ]
  const order = [keys.leaf, keys.brom, keys.provisioner, keys.identity, keys.root]
  return order.map((key, at) =>
    certificate({
      subject: names[at]!,
      issuer: names[Math.min(at + 1, 4)]!,
      key,
      signer: order[Math.min(at + 1, 4)]!,
      serial: 100 + at,
      extensions: at === 0 ? [usage.sign, fwidExtension(fwid, spkiOf(keys.brom))] : ca,
      ...(at === 0 ? leaf : others),
    }),
  )
}

const le = (value: number, length: number): Uint8Array =>
  Uint8Array.from({ length }, (_, at) => Math.floor(value / 256 ** at) % 256)
const text = encodeUtf8

export const gpuFields: ReadonlyMap<number, Uint8Array> = new Map([
  [3, text('550.90.07\0')],
  [6, Uint8Array.of(0x00, 0xa5, 0x00, 0x96, 1, 0, 0, 0)],
  [11, Uint8Array.of(0xaa)],
  [17, text('G520\0')],
  [20, fwid],
  [21, Uint8Array.of(0x55)],
  [22, new Uint8Array(144).fill(3)],
  [34, le(1, 2)],
  [36, le(1, 2)],
])
export const switchFields: ReadonlyMap<number, Uint8Array> = new Map([
  [6, text('96.10.55.00.01')],
  [22, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8)],
  [26, new Uint8Array(128).fill(4)],
])

export const nonce = new Uint8Array(32).fill(9)
export const values: readonly Uint8Array[] = Array.from({ length: 64 }, (_, at) => new Uint8Array(48).fill(at))

export interface ReportParts {
  readonly key?: Key
  readonly fields?: ReadonlyMap<number, Uint8Array>
  readonly values?: readonly Uint8Array[]
  readonly head?: Uint8Array
  readonly after?: Uint8Array
}

export function report(parts: ReportParts = {}): Uint8Array {
  const blocks = (parts.values ?? values).map((value, at) =>
    concatBytes(Uint8Array.of(at + 1, 1), le(value.length + 3, 2), Uint8Array.of(1), le(value.length, 2), value),
  )
  const record = concatBytes(...blocks)
  const opaque = concatBytes(
    ...[...(parts.fields ?? gpuFields)].map(([type, value]) => concatBytes(le(type, 2), le(value.length, 2), value)),
  )
  const body = concatBytes(
    parts.head ?? Uint8Array.of(0x11, 0xe0, 0x01, 0xff),
    nonce,
    Uint8Array.of(0, 0x11, 0x60, 0, 0, blocks.length),
    le(record.length, 3),
    record,
    new Uint8Array(32).fill(5),
    le(opaque.length, 2),
    opaque,
  )
  const signature = new Uint8Array(sign('sha384', body, { key: parts.key ?? keys.leaf, dsaEncoding: 'ieee-p1363' }))
  return concatBytes(body, signature, parts.after ?? new Uint8Array(0))
}

export function entry(parts: Partial<NvidiaEntry> = {}): NvidiaEntry {
  return { role: 'gpu', format: 'nvidia-gpu/1', report: report(), certificates: chain(), ...parts }
}

function generalizedTime(seconds: number): Uint8Array {
  const digits = new Date(seconds * 1000)
    .toISOString()
    .replace(/\.\d+Z$/, 'Z')
    .replace(/[-:T]/g, '')
  return der(derTag.generalizedTime, encodeUtf8(digits))
}

export interface OcspParts {
  /** The certificate it is about, DER, and its issuer's. */
  readonly of: Uint8Array
  readonly issuer: Uint8Array
  readonly signer: Key
  readonly responder: string
  readonly status?: 'good' | 'unknown' | { readonly reason: number | undefined }
  readonly thisUpdate?: number
  readonly nextUpdate?: number | null
  readonly certificates?: readonly Uint8Array[]
}

function partsOf(certificate: Uint8Array): { serial: Uint8Array; subject: Uint8Array; spki: Uint8Array } {
  const tbs = new DerReader(certificate).enter(0x30, 'c').enter(0x30, 'tbs')
  tbs.element(0xa0, 'version')
  const serial = tbs.element(0x02, 'serial')
  for (const _ of [1, 2, 3]) tbs.element(0x30, 'skipped')
  return { serial, subject: tbs.element(0x30, 'subject'), spki: tbs.element(0x30, 'spki') }
}

/** A basic OCSP response, SHA-1 in its CertID as NVIDIA's clients ask. */
export function ocsp(parts: OcspParts): Uint8Array {
  const { serial } = partsOf(parts.of)
  const issuer = partsOf(parts.issuer)
  const spki = new DerReader(issuer.spki).enter(0x30, 'spki')
  spki.element(0x30, 'algorithm')
  const key = spki.contents(derTag.bitString, 'key').subarray(1)
  const octets = (value: Uint8Array): Uint8Array => der(derTag.octetString, value)
  const id = der(
    derTag.sequence,
    der(derTag.sequence, derOid('1.3.14.3.2.26'), der(derTag.null)),
    octets(dangerousSha1(issuer.subject)),
    octets(dangerousSha1(key)),
    serial,
  )
  const given = parts.status ?? 'good'
  const status =
    typeof given === 'string'
      ? der(given === 'good' ? 0x80 : 0x82)
      : der(
          0xa1,
          generalizedTime(now - 500),
          ...(given.reason === undefined
            ? []
            : [der(derTag.context0, der(derTag.enumerated, Uint8Array.of(given.reason)))]),
        )
  const next = parts.nextUpdate === undefined ? now + 100 : parts.nextUpdate
  const answer = der(
    derTag.sequence,
    id,
    status,
    generalizedTime(parts.thisUpdate ?? now - 100),
    ...(next === null ? [] : [der(derTag.context0, generalizedTime(next))]),
  )
  const tbs = der(
    derTag.sequence,
    der(derTag.context1, name(parts.responder)),
    generalizedTime(now - 100),
    der(derTag.sequence, answer),
  )
  const certs = parts.certificates?.length ? [der(derTag.context0, der(derTag.sequence, ...parts.certificates))] : []
  const basic = signed(tbs, parts.signer, ...certs)
  const bytes = der(derTag.sequence, derOid('1.3.6.1.5.5.7.48.1.1'), octets(basic))
  return der(derTag.sequence, der(derTag.enumerated, Uint8Array.of(0)), der(derTag.context0, bytes))
}
