import { decodeBase64, decodeHex, decodeUtf8, encodeUtf8, equalBytes, FormatError } from '@cella/bytes'
import { sha384, verifySignature } from '@cella/primitives'
// biome-ignore lint/correctness/noUnresolvedImports: a CommonJS module, whose exports are made at run time
import { DOMParser } from '@xmldom/xmldom'
import { EvidenceError } from '../error.ts'
import { type Certificate, mayUseKeyFor, parseCertificate } from '../x509/certificate.ts'
import { canonicalXml, namespacesAt } from './canonical-xml.ts'

/** Real ones have 20 to 100 KiB. */
const rimBytesMax = 262_144
const elementDepthMax = 16
const certificateCountMax = 6
const indexMax = 253
const alternativeCountMax = 64

const swid = 'http://standards.iso.org/iso/19770/-2/2015/schema.xsd'
const rimModel = 'https://trustedcomputinggroup.org/resource/tcg-reference-integrity-manifest-rim-information-model/'
const sha384Namespace = 'http://www.w3.org/2001/04/xmlenc#sha384'
const dsig = 'http://www.w3.org/2000/09/xmldsig#'
/** NVIDIA's number among manufacturers (IANA private enterprise numbers). */
const nvidiaNumber = '5703'

// Inclusive, without comments: 1.0 and 1.1 give the same bytes here.
const canonicalizations = ['http://www.w3.org/2006/12/xml-c14n11', 'http://www.w3.org/TR/2001/REC-xml-c14n-20010315']
const enveloped = `${dsig}enveloped-signature`
const ecdsaSha384 = 'http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384'
const sha384Digest = 'http://www.w3.org/2001/04/xmldsig-more#sha384'

/** A reference integrity manifest of NVIDIA: a SWID tag (ISO/IEC 19770-2). `checkRimSignature` has passed or it is worth nothing. */
export interface RimDocument {
  readonly product: string
  readonly version: string
  /** By index from 0, the active ones; each with its acceptable values, 48 bytes. */
  readonly measurements: ReadonlyMap<number, readonly Uint8Array[]>
  /** DER, the signer's first. */
  readonly certificates: readonly Certificate[]
}

/**
 * Reads a manifest and verifies that the key of its first certificate signed the whole of it: XML Signature, enveloped,
 * one reference to the document, Canonical XML 1.1 or 1.0, SHA-384, ECDSA P-384. What is returned was read from the very
 * tree whose canonical form was hashed, with the signature as the last element under the root and nothing outside of
 * what it covers. Whether the certificate is anyone's has not been looked at. Refused before parsing: over 256 KiB, a
 * DTD, comments, CDATA, processing instructions. Throws FormatError, ERR_EVIDENCE_UNSUPPORTED for another algorithm of
 * XML Signature, ERR_EVIDENCE_SIGNATURE.
 */
export async function readRim(bytes: Uint8Array, field: string): Promise<RimDocument> {
  const root = parseXml(bytes, field)
  if (root.namespaceURI !== swid || root.localName !== 'SoftwareIdentity') {
    throw new FormatError(field, 'is not a SWID tag (SoftwareIdentity)')
  }
  const signature = childrenOf(root).at(-1)
  if (signature === undefined || !isNamed(signature, dsig, 'Signature')) {
    throw new FormatError(field, 'does not end with its signature')
  }
  const certificates = await verifyXmlSignature(root, signature, field)
  const body = childrenOf(root).slice(0, -1)
  const meta = single(body, 'Meta', field)
  if (attribute(meta, rimModel, 'FirmwareManufacturerId', field) !== nvidiaNumber) {
    throw new FormatError(field, `is not of the manufacturer ${nvidiaNumber} (NVIDIA)`)
  }
  return {
    product: attribute(meta, null, 'product', field),
    version: attribute(meta, null, 'colloquialVersion', field),
    measurements: readPayload(single(body, 'Payload', field), field),
    certificates,
  }
}

function parseXml(bytes: Uint8Array, field: string): Element {
  if (bytes.length > rimBytesMax)
    throw new FormatError(field, `has ${bytes.length} bytes, at most ${rimBytesMax} are read`)
  const text = decodeUtf8(bytes, field).replace(/^<\?xml version="1\.0"(?: encoding="(?:UTF|utf)-8")?\s*\?>/, '')
  // No DTD, so no entities but the five; no comments, so that text can't be cut by one.
  if (/<[!?]/.test(text)) throw new FormatError(field, 'has a DTD, comment, CDATA section or processing instruction')
  if (text.includes('\r')) throw new FormatError(field, 'has carriage returns')
  refuseDeep(text, field)
  try {
    const refuse = (level: string, message: string): never => {
      throw new FormatError(field, `is not well-formed XML (${level}: ${message.slice(0, 80)})`)
    }
    const document = new DOMParser({ onError: refuse }).parseFromString(text, 'application/xml')
    // The parser's own types are a part of the DOM's.
    const root = document.documentElement as unknown as Element | null
    if (root === null) throw new FormatError(field, 'has no element')
    return root
  } catch (cause) {
    // The parser throws errors of its own as well.
    if (cause instanceof FormatError) throw cause
    throw new FormatError(field, 'is not well-formed XML', { cause })
  }
}

/** The walks over the tree are recursive. */
function refuseDeep(text: string, field: string): void {
  let depth = 0
  for (const [, close, selfClosed] of text.matchAll(/<(\/?)[^<>]*?(\/?)>/g)) {
    if (close === '/') depth--
    else if (selfClosed !== '/' && ++depth > elementDepthMax)
      throw new FormatError(field, `is nested deeper than ${elementDepthMax}`)
  }
}

/** The certificates of the signature, when it is by the key of the first and covers all of `root` but itself. */
async function verifyXmlSignature(root: Element, signature: Element, field: string): Promise<Certificate[]> {
  const [info, value, keyInfo, ...more] = childrenOf(signature)
  if (
    !isNamed(info, dsig, 'SignedInfo') ||
    !isNamed(value, dsig, 'SignatureValue') ||
    !isNamed(keyInfo, dsig, 'KeyInfo')
  ) {
    throw new FormatError(field, 'has a signature without SignedInfo, SignatureValue and KeyInfo')
  }
  if (more.length > 0)
    throw new FormatError(field, 'has a signature with more than SignedInfo, SignatureValue and KeyInfo')
  const digest = readSignedInfo(info, field)
  const certificates = readKeyInfo(keyInfo, field)
  const raw = decodeBase64(withoutSpace(value), `${field} signature`)
  const signer = certificates[0]!
  if (raw.length !== 96 || !mayUseKeyFor(signer, 'digitalSignature')) {
    throw new EvidenceError('ERR_EVIDENCE_SIGNATURE', `${field}: is not signed by a P-384 key that may sign`)
  }
  const covered = sha384(encodeUtf8(canonicalXml(root, new Map(), signature)))
  if (!equalBytes(covered, digest)) {
    throw new EvidenceError('ERR_EVIDENCE_SIGNATURE', `${field}: its digest is not the one that was signed`)
  }
  const signed = encodeUtf8(canonicalXml(info, namespacesAt(signature)))
  let genuine = false
  try {
    genuine = await verifySignature('ecdsa-p384-sha384', signer.spki, signed, raw)
  } catch {
    // A point that is not on the curve has signed nothing.
  }
  if (!genuine)
    throw new EvidenceError('ERR_EVIDENCE_SIGNATURE', `${field}: is not signed by the key of its certificate`)
  return certificates
}

/** The signed digest of the document. Any other shape of SignedInfo is one whose meaning nobody looked at. */
function readSignedInfo(info: Element, field: string): Uint8Array {
  const [method, algorithm, reference, ...more] = childrenOf(info)
  checkAlgorithm(method, 'CanonicalizationMethod', canonicalizations, field)
  checkAlgorithm(algorithm, 'SignatureMethod', [ecdsaSha384], field)
  if (!isNamed(reference, dsig, 'Reference') || more.length > 0 || reference.getAttribute('URI') !== '') {
    throw new FormatError(field, 'has not one signed reference to the document itself')
  }
  const [transforms, digestMethod, digestValue, ...others] = childrenOf(reference)
  if (!isNamed(transforms, dsig, 'Transforms') || !isNamed(digestValue, dsig, 'DigestValue') || others.length > 0) {
    throw new FormatError(field, 'has a reference without Transforms, DigestMethod and DigestValue')
  }
  const [first, second, ...rest] = childrenOf(transforms)
  checkAlgorithm(first, 'Transform', [enveloped], field)
  checkAlgorithm(second, 'Transform', canonicalizations, field)
  if (rest.length > 0) throw new FormatError(field, 'has more than two transforms')
  checkAlgorithm(digestMethod, 'DigestMethod', [sha384Digest], field)
  return decodeBase64(withoutSpace(digestValue), `${field} digest`)
}

function checkAlgorithm(element: Element | undefined, name: string, known: readonly string[], field: string): void {
  if (!isNamed(element, dsig, name) || childrenOf(element).length > 0)
    throw new FormatError(field, `has no plain ${name}`)
  const found = element.getAttribute('Algorithm') ?? ''
  if (known.includes(found)) return
  throw new EvidenceError(
    'ERR_EVIDENCE_UNSUPPORTED',
    `${field}: ${name} is ${found.replace(/[^\x21-\x7e]/g, '?').slice(0, 80)}; read are ${known.join(', ')}`,
  )
}

function readKeyInfo(keyInfo: Element, field: string): Certificate[] {
  const [data, ...more] = childrenOf(keyInfo)
  if (!isNamed(data, dsig, 'X509Data') || more.length > 0)
    throw new FormatError(field, 'has a KeyInfo without X509Data')
  const list = childrenOf(data)
  if (list.length === 0 || list.length > certificateCountMax) {
    throw new FormatError(field, `has ${list.length} certificates, expected 1 to ${certificateCountMax}`)
  }
  return list.map((element, at) => {
    const name = `${field} certificate ${at}`
    if (!isNamed(element, dsig, 'X509Certificate')) throw new FormatError(name, 'is not an X509Certificate')
    return parseCertificate(decodeBase64(withoutSpace(element), name), name, 'any')
  })
}

function readPayload(payload: Element, field: string): Map<number, readonly Uint8Array[]> {
  const measurements = new Map<number, readonly Uint8Array[]>()
  const seen = new Set<number>()
  for (const resource of childrenOf(payload)) {
    if (!isNamed(resource, swid, 'Resource') || attribute(resource, null, 'type', field) !== 'Measurement') {
      throw new FormatError(field, 'has a payload of more than measurements')
    }
    const index = integer(attribute(resource, null, 'index', field), indexMax, `${field} index`)
    const name = `${field} measurement ${index}`
    if (seen.has(index)) throw new FormatError(name, 'occurs twice')
    seen.add(index)
    const active = attribute(resource, null, 'active', name)
    if (active !== 'True' && active !== 'False') throw new FormatError(name, 'is neither active nor inactive')
    if (active === 'False') continue
    if (attribute(resource, null, 'size', name) !== '48') throw new FormatError(name, 'is not of 48 bytes')
    const count = integer(attribute(resource, null, 'alternatives', name), alternativeCountMax, name)
    if (count === 0) throw new FormatError(name, 'has no value')
    const values = Array.from({ length: count }, (_, at) => {
      const value = decodeHex(attribute(resource, sha384Namespace, `Hash${at}`, name).toLowerCase(), name)
      if (value.length !== 48) throw new FormatError(name, 'has a value of other than 48 bytes')
      return value
    })
    measurements.set(index, values)
  }
  return measurements
}

function integer(text: string, max: number, field: string): number {
  if (!/^(?:0|[1-9][0-9]{0,3})$/.test(text) || Number(text) > max)
    throw new FormatError(field, `is not a number from 0 to ${max}`)
  return Number(text)
}

function childrenOf(element: Element): Element[] {
  const children: Element[] = []
  for (let child = element.firstChild; child !== null; child = child.nextSibling) {
    if (child.nodeType === 1) children.push(child as Element)
  }
  return children
}

function isNamed(element: Element | undefined, namespace: string, name: string): element is Element {
  return element?.namespaceURI === namespace && element.localName === name
}

function single(elements: readonly Element[], name: string, field: string): Element {
  const [found, ...more] = elements.filter((element) => isNamed(element, swid, name))
  if (found === undefined || more.length > 0) throw new FormatError(field, `has not one ${name}`)
  return found
}

function attribute(element: Element, namespace: string | null, name: string, field: string): string {
  const value =
    namespace === null ? element.getAttributeNode(name)?.value : element.getAttributeNodeNS(namespace, name)?.value
  if (value === undefined) throw new FormatError(field, `has no ${name}`)
  return value
}

function withoutSpace(element: Element): string {
  if (childrenOf(element).length > 0) throw new FormatError(element.localName ?? 'XML', 'has elements inside')
  return (element.textContent ?? '').replace(/[ \t\n]/g, '')
}
