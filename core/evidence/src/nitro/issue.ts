import { concatBytes, encodeUtf8 } from '@cella/bytes'
import { type CborValue, encodeCbor } from '@cella/cbor'
import { issueCoseSign1 } from '../cose/issue.ts'
import { der, derInteger, derOid, derTag } from '../x509/der.ts'
import { encodeTime } from '../x509/time.ts'
import type { NitroDocument } from './document.ts'

// The inverse of the readers: what a simulated enclave and tests issue. No verifier needs it, so it has an entry of its
// own and stays out of their bundles. It holds no key: `sign` does.

export type { NitroDocument } from './document.ts'

/** ECDSA P-384 with SHA-384 over `bytes`: r ‖ s, 96 bytes. */
export type NitroSigner = (bytes: Uint8Array) => Uint8Array | Promise<Uint8Array>

export interface NitroCertificate {
  /** Common names; AWS writes `C=US, O=Amazon, OU=AWS` before them. */
  readonly issuer: string
  readonly subject: string
  /** Positive, at most 20 bytes big-endian. */
  readonly serial: Uint8Array
  /** Unix seconds, both inclusive. */
  readonly notBefore: number
  readonly notAfter: number
  /** DER of the subject's P-384 key. */
  readonly spki: Uint8Array
  /** The issuer's key. */
  readonly sign: NitroSigner
}

/**
 * A certificate of a CA, DER: `pathLength` is how many CAs may follow below, `undefined` at a root. The root of a
 * partition is named `<partition>.nitro-enclaves` and is its own issuer.
 */
export function issueNitroCa(options: NitroCertificate & { pathLength: number | undefined }): Promise<Uint8Array> {
  const { pathLength } = options
  const limits = [
    der(derTag.boolean, Uint8Array.of(0xff)),
    ...(pathLength === undefined ? [] : [derInteger(pathLength)]),
  ]
  // As AWS writes them: the lowest CA signs certificates only, those above also revocation lists. RFC 5280 §4.2.1.3.
  const usage = pathLength === 0 ? keyUsage(2, 0x04) : keyUsage(1, 0x86)
  return issue(options, [extension('2.5.29.19', der(derTag.sequence, ...limits)), usage])
}

/** The certificate of an enclave's key, named `<module id>.<region>.<partition>`. */
export function issueNitroLeaf(options: NitroCertificate): Promise<Uint8Array> {
  // digitalSignature and nonRepudiation, as AWS writes it.
  return issue(options, [extension('2.5.29.19', der(derTag.sequence)), keyUsage(6, 0xc0)])
}

/** An attestation document (attestation_process.md §2.2), untagged as the Nitro security module gives it. */
export function issueNitroDocument(document: NitroDocument, sign: NitroSigner): Promise<Uint8Array> {
  const payload = encodeCbor(
    new Map<string, CborValue>([
      ['module_id', document.moduleId],
      ['digest', 'SHA384'],
      ['timestamp', document.timestamp],
      ['pcrs', document.pcrs],
      ['certificate', document.certificate],
      ['cabundle', document.cabundle],
      ['public_key', document.publicKey ?? null],
      ['user_data', document.userData ?? null],
      ['nonce', document.nonce ?? null],
    ]),
  )
  return issueCoseSign1({ algorithm: -35, payload, sign })
}

/** What `/dev/nsm` answers to a request for attestation. */
export function encodeNsmResponse(document: Uint8Array): Uint8Array {
  return encodeCbor(new Map([['Attestation', new Map([['document', document]])]]))
}

const ecdsaWithSha384 = der(derTag.sequence, derOid('1.2.840.10045.4.3.3'))

async function issue(options: NitroCertificate, extensions: readonly Uint8Array[]): Promise<Uint8Array> {
  const tbs = der(
    derTag.sequence,
    der(derTag.context0, derInteger(2)),
    positive(options.serial),
    ecdsaWithSha384,
    awsName(options.issuer),
    der(derTag.sequence, encodeTime(options.notBefore), encodeTime(options.notAfter)),
    awsName(options.subject),
    options.spki,
    der(derTag.context3, der(derTag.sequence, ...extensions)),
  )
  const raw = await options.sign(tbs)
  const signature = der(derTag.sequence, positive(raw.subarray(0, 48)), positive(raw.subarray(48)))
  return der(derTag.sequence, tbs, ecdsaWithSha384, der(derTag.bitString, concatBytes(Uint8Array.of(0), signature)))
}

function awsName(common: string): Uint8Array {
  const part = (oid: string, tag: number, value: string): Uint8Array =>
    der(derTag.set, der(derTag.sequence, derOid(oid), der(tag, encodeUtf8(value))))
  return der(
    derTag.sequence,
    part('2.5.4.6', derTag.printableString, 'US'),
    part('2.5.4.10', derTag.utf8String, 'Amazon'),
    part('2.5.4.11', derTag.utf8String, 'AWS'),
    part('2.5.4.3', derTag.utf8String, common),
  )
}

function keyUsage(unusedBits: number, bits: number): Uint8Array {
  return extension('2.5.29.15', der(derTag.bitString, Uint8Array.of(unusedBits, bits)))
}

function extension(oid: string, value: Uint8Array): Uint8Array {
  const critical = der(derTag.boolean, Uint8Array.of(0xff))
  return der(derTag.sequence, derOid(oid), critical, der(derTag.octetString, value))
}

/** A DER INTEGER of a big-endian magnitude. */
function positive(magnitude: Uint8Array): Uint8Array {
  const start = magnitude.findIndex((byte) => byte !== 0)
  const shortest = start < 0 ? Uint8Array.of(0) : magnitude.subarray(start)
  return der(derTag.integer, shortest[0]! >= 0x80 ? concatBytes(Uint8Array.of(0), shortest) : shortest)
}
