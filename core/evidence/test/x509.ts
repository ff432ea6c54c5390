import { createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { concatBytes, encodeUtf8 } from '@cella/bytes'
import { digestOf } from '@cella/primitives'
import type { OtherRoot } from '../src/roots.ts'
import { type Certificate, parseCertificate } from '../src/x509/certificate.ts'
import { type Crl, parseCrl } from '../src/x509/crl.ts'
import { der, derInteger, derOid, derTag } from '../src/x509/der.ts'
import { encodeTime } from '../src/x509/time.ts'

// A small certification authority for tests: P-256 keys, whatever extensions a test wants.

export const caNow = 1_790_000_000

export interface Ca {
  readonly name: string
  readonly key: KeyObject
}

export function newCa(name: string): Ca {
  return { name, key: generateKeyPairSync('ec', { namedCurve: 'prime256v1' }).privateKey }
}

export interface Wanted {
  readonly serial?: number
  readonly notBefore?: number
  readonly notAfter?: number
  /** `undefined` for no basicConstraints. */
  readonly ca?: boolean
  readonly pathLength?: number
  /** The byte of keyUsage; `null` for none. */
  readonly usage?: number | null
  readonly extensions?: readonly Uint8Array[]
}

export const usages = { digitalSignature: 0x80, keyCertSign: 0x04, cRLSign: 0x02 }

export function certify(subject: Ca, issuer: Ca, wanted: Wanted = {}): Certificate {
  const { serial = 1, notBefore = caNow - 1000, notAfter = caNow + 1000, ca = true, pathLength } = wanted
  const usage = wanted.usage === undefined ? usages.keyCertSign | usages.cRLSign : wanted.usage
  const extensions = [
    extension(
      '2.5.29.19',
      der(
        derTag.sequence,
        ...(ca ? [der(derTag.boolean, Uint8Array.of(0xff))] : []),
        ...(pathLength === undefined ? [] : [derInteger(pathLength)]),
      ),
      true,
    ),
    ...(usage === null ? [] : [extension('2.5.29.15', der(derTag.bitString, Uint8Array.of(0, usage)), true)]),
    ...(wanted.extensions ?? []),
  ]
  const tbs = der(
    derTag.sequence,
    der(derTag.context0, derInteger(2)),
    derInteger(serial),
    algorithm,
    nameOf(issuer.name),
    der(derTag.sequence, encodeTime(notBefore), encodeTime(notAfter)),
    nameOf(subject.name),
    new Uint8Array(createPublicKey(subject.key).export({ format: 'der', type: 'spki' })),
    der(derTag.context3, der(derTag.sequence, ...extensions)),
  )
  return parseCertificate(signed(tbs, issuer.key), 'certificate')
}

export interface WantedCrl {
  readonly thisUpdate?: number
  readonly nextUpdate?: number
  readonly revoked?: readonly { readonly serial: number; readonly reason?: number }[]
  readonly extensions?: readonly Uint8Array[]
}

export function crlBytes(issuer: Ca, wanted: WantedCrl = {}): Uint8Array {
  const { thisUpdate = caNow - 100, nextUpdate = caNow + 100, revoked = [], extensions = [] } = wanted
  const entries = revoked.map(({ serial, reason }) =>
    der(
      derTag.sequence,
      derInteger(serial),
      encodeTime(caNow - 200),
      ...(reason === undefined
        ? []
        : [der(derTag.sequence, extension('2.5.29.21', der(derTag.enumerated, Uint8Array.of(reason))))]),
    ),
  )
  const tbs = der(
    derTag.sequence,
    derInteger(1),
    algorithm,
    nameOf(issuer.name),
    encodeTime(thisUpdate),
    encodeTime(nextUpdate),
    ...(entries.length === 0 ? [] : [der(derTag.sequence, ...entries)]),
    der(derTag.context0, der(derTag.sequence, extension('2.5.29.20', derInteger(7)), ...extensions)),
  )
  return signed(tbs, issuer.key)
}

export function issueCrl(issuer: Ca, wanted: WantedCrl = {}): Crl {
  return parseCrl(crlBytes(issuer, wanted), 'CRL')
}

export function rootOf(ca: Ca, simulated = false): OtherRoot {
  const spki = digestOf(new Uint8Array(createPublicKey(ca.key).export({ format: 'der', type: 'spki' })))
  return { tee: 'nitro', spki, simulated }
}

export function extension(oid: string, value: Uint8Array, critical = false): Uint8Array {
  const flag = critical ? [der(derTag.boolean, Uint8Array.of(0xff))] : []
  return der(derTag.sequence, derOid(oid), ...flag, der(derTag.octetString, value))
}

const algorithm = der(derTag.sequence, derOid('1.2.840.10045.4.3.2'))

function nameOf(text: string): Uint8Array {
  const attribute = der(derTag.sequence, derOid('2.5.4.3'), der(derTag.utf8String, encodeUtf8(text)))
  return der(derTag.sequence, der(derTag.set, attribute))
}

function signed(tbs: Uint8Array, key: KeyObject): Uint8Array {
  const signature = new Uint8Array(sign('sha256', tbs, key))
  return der(derTag.sequence, tbs, algorithm, der(derTag.bitString, concatBytes(Uint8Array.of(0), signature)))
}
