import { concatBytes, encodeBase64, encodeHex, encodeUtf8, equalBytes, FormatError } from '@cella/bytes'
import { cborArray, cborBytes, cborInteger, cborMap, cborTagged, decodeCbor } from '@cella/cbor'
import { sha256, sha384, sha512 } from '@cella/primitives'
import { EvidenceError, reading } from '../error.ts'
import { type Certificate, parseCertificate } from '../x509/certificate.ts'
import { derOid } from '../x509/der.ts'
import { certificatesOf } from '../x509/pem.ts'
import type { SgxEvidenceEntry, TdxEvidenceEntry } from './entry.ts'
import { carries, openEnclaveQuote } from './open-enclave.ts'
import { intelQuoteLength } from './quote.ts'
import { intelEvidenceOf } from './readers.ts'

// Certificates that enclaves make for their own TLS keys ("RA-TLS"): the quote is in an extension, and its report data
// binds the key. The signature of such a certificate is by that key itself and says nothing: what counts is the quote.

/** The quote's place in a certificate, and how its report data binds the certificate's key. */
interface Form {
  readonly name: string
  readonly oid: string
  /** The quote, once it is seen to bind `key`. */
  readonly quoteOf: (value: Uint8Array, key: Certificate) => Uint8Array
}

const forms: readonly Form[] = [
  // TCG DICE conceptual message wrapper; Gramine 1.4 and later, Intel's interoperable RA-TLS.
  { name: 'a DICE certificate (RA-TLS)', oid: '2.23.133.5.4.9', quoteOf: diceQuote },
  // Gramine's header prepends tag and length to the identifier's own bytes, so certificates have the first of these.
  { name: 'a certificate of Gramine', oid: '0.6.9.42.840.113741.1337.6', quoteOf: gramineQuote },
  { name: 'a certificate of Gramine', oid: '1.2.840.113741.1337.6', quoteOf: gramineQuote },
  { name: 'a certificate of Open Enclave', oid: '1.2.840.113556.10.1.2', quoteOf: openEnclaveQuoteOf },
  { name: 'a certificate of Open Enclave', oid: '1.3.6.1.4.1.311.105.2', quoteOf: openEnclaveQuoteOf },
  { name: 'a certificate of Open Enclave', oid: '1.2.840.113556.10.1.1', quoteOf: openEnclaveQuoteOf },
  { name: 'a certificate of Open Enclave', oid: '1.3.6.1.4.1.311.105.1', quoteOf: openEnclaveQuoteOf },
]

const bytesMax = 32_768
const pemStart = encodeUtf8('-----BEGIN CERTIFICATE-----')

/** Names the form for people if the bytes look like such a certificate, DER or PEM. Nothing is verified. */
export function recogniseRaTls(bytes: Uint8Array): string | undefined {
  const isPem = equalBytes(bytes.subarray(0, pemStart.length), pemStart)
  if ((!isPem && bytes[0] !== 0x30) || bytes.length > bytesMax) return undefined
  try {
    const text = encodeHex(certificatesOf(bytes, 'certificate')[0]!)
    const form = forms.find(({ oid }) => text.includes(encodeHex(derOid(oid))))
    return form && `a quote of Intel SGX or TDX in ${form.name}`
  } catch {
    // Text that only begins like PEM.
    return undefined
  }
}

/**
 * Evidence of the quote in an enclave's own TLS certificate, DER or PEM; of a chain, the first's. Throws EvidenceError: ERR_EVIDENCE_BINDING where the
 * quote binds another key than the certificate's, ERR_EVIDENCE_MALFORMED. The quote itself is not verified, and whether
 * the peer of a connection has the key is the connection's to show.
 */
export function intelEvidenceOfCertificate(bytes: Uint8Array): SgxEvidenceEntry | TdxEvidenceEntry {
  return reading(() => {
    const certificate = parseCertificate(certificatesOf(bytes, 'certificate')[0]!, 'certificate')
    // Gramine writes its older form beside the newer one, with a quote of its own: the newer one counts.
    const form = forms.find(({ oid }) => certificate.extensions.has(oid))
    if (form === undefined) throw new FormatError('certificate', 'has no extension with a quote')
    return intelEvidenceOf(form.quoteOf(certificate.extensions.get(form.oid)!.value, certificate))
  })
}

function exactly(quote: Uint8Array): Uint8Array {
  return quote.subarray(0, intelQuoteLength(quote))
}

function gramineQuote(value: Uint8Array, { spki }: Certificate): Uint8Array {
  const quote = exactly(value)
  carries(quote, spki, 'key of the certificate')
  return quote
}

const diceTag = 60_000
// IANA Named Information Hash Algorithm registry.
const hashes: Readonly<Record<number, (bytes: Uint8Array) => Uint8Array>> = { 1: sha256, 7: sha384, 8: sha512 }

/** 60000([quote, claims]), both byte strings; claims `{"pubkey-hash": bstr [algorithm, digest], …}`. */
function diceQuote(value: Uint8Array, { spki }: Certificate): Uint8Array {
  const field = 'DICE evidence'
  const evidence = cborTagged(decodeCbor(value, field, { bytesMax: 16_384 }), diceTag, field)
  const [first, second] = cborArray(evidence, field, { min: 2, max: 2 })
  const quote = exactly(cborBytes(first, `${field} quote`))
  const claims = cborBytes(second, `${field} claims`, { min: 1, max: 4096 })
  carries(quote, claims, `${field} claims`)
  const map = cborMap(decodeCbor(claims, `${field} claims`, { bytesMax: 4096 }), `${field} claims`)
  const entry = cborBytes(map.get('pubkey-hash'), `${field} pubkey-hash`, { max: 128 })
  const [id, digest] = cborArray(decodeCbor(entry, `${field} pubkey-hash`, { bytesMax: 128 }), `${field} pubkey-hash`, {
    min: 2,
    max: 2,
  })
  const hash = hashes[cborInteger(id, `${field} pubkey-hash`)]
  if (hash === undefined) throw new FormatError(`${field} pubkey-hash`, 'is by neither SHA-256, SHA-384 nor SHA-512')
  if (!equalBytes(cborBytes(digest, `${field} pubkey-hash`), hash(spki))) {
    throw new EvidenceError('ERR_EVIDENCE_BINDING', `${field}: binds another key than the certificate's`)
  }
  return quote
}

/** The key counts as PEM with the zero that ends a C string, as its own claim or, in the older form, as report data. */
function openEnclaveQuoteOf(value: Uint8Array, { spki }: Certificate): Uint8Array {
  const { quote, customClaims } = openEnclaveQuote(value)
  const lines = encodeBase64(spki).match(/.{1,64}/g)!
  const pem = encodeUtf8(['-----BEGIN PUBLIC KEY-----', ...lines, '-----END PUBLIC KEY-----', ''].join('\n'))
  const key = concatBytes(pem, Uint8Array.of(0))
  if (customClaims === undefined) carries(exactly(quote), key, 'key of the certificate')
  else if (!equalBytes(customClaims, key)) {
    throw new EvidenceError(
      'ERR_EVIDENCE_BINDING',
      'Open Enclave custom claims: are another key than the certificate’s',
    )
  }
  return exactly(quote)
}
