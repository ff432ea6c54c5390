import { encodeHex, equalBytes, FormatError } from '@cella/bytes'
import { dangerousSha1, sha256, sha384 } from '@cella/primitives'
import type { Endorsements } from '../endorsements.ts'
import { EvidenceError, reading } from '../error.ts'
import {
  bitString,
  type Certificate,
  dottedOid,
  mayUseKeyFor,
  parseCertificate,
  parseExtensions,
} from '../x509/certificate.ts'
import { checkInteger, DerReader, derOid, derTag, smallInteger } from '../x509/der.ts'
import { checkWindow, timeText } from '../x509/path.ts'
import { isSignedBy } from '../x509/signature.ts'
import { parseTime } from '../x509/time.ts'

const responseBytesMax = 32_768
const answerCountMax = 32
const certificateCountMax = 4
const basicOid = derOid('1.3.6.1.5.5.7.48.1.1')
const ocspSigningOid = derOid('1.3.6.1.5.5.7.3.9')
// The nonce of a request (RFC 9654) says nothing about the answer.
const nonceOid = '1.3.6.1.5.5.7.48.1.2'

/** A response without nextUpdate is taken for this long after its thisUpdate: seconds. */
const ocspLifetimeMax = 86_400

/** What a responder says of one certificate. */
interface OcspAnswer {
  /** Names the certificate: hashes of its issuer's name and key by `hash`, and its serial number, hexadecimal. */
  readonly hash: 'sha1' | 'sha256' | 'sha384'
  readonly issuerNameHash: Uint8Array
  readonly issuerKeyHash: Uint8Array
  readonly serial: string
  readonly status:
    | { readonly kind: 'good' }
    | { readonly kind: 'unknown' }
    /** `reason` is a CRLReason (RFC 5280 §5.3.1): 6 is certificateHold. */
    | { readonly kind: 'revoked'; readonly at: number; readonly reason: number | undefined }
  /** Unix seconds, both inclusive. */
  readonly thisUpdate: number
  readonly nextUpdate: number | undefined
}

/** A basic OCSP response (RFC 6960 §4.2.1). Nothing about it has been verified. */
export interface OcspResponse {
  readonly tbs: Uint8Array
  readonly signatureAlgorithm: Uint8Array
  readonly signature: Uint8Array
  readonly responder: { readonly name: Uint8Array } | { readonly keyHash: Uint8Array }
  readonly answers: readonly OcspAnswer[]
  readonly certificates: readonly Certificate[]
}

/**
 * Reads a DER OCSPResponse that is successful and basic, whole and nothing after it: 32 KiB, 32 answers and four
 * certificates at most. Refused: another response status, critical extensions, hashes other than SHA-1, SHA-256 and
 * SHA-384. Throws FormatError. Checks no signature and no time.
 */
export function parseOcspResponse(bytes: Uint8Array, field: string): OcspResponse {
  if (bytes.length > responseBytesMax)
    throw new FormatError(field, `has ${bytes.length} bytes, at most ${responseBytesMax}`)
  const outer = new DerReader(Uint8Array.from(bytes))
  const response = outer.enter(derTag.sequence, field)
  outer.end(field)
  const status = enumerated(response, `${field}.responseStatus`)
  if (status !== 0) throw new FormatError(`${field}.responseStatus`, `is ${status}, expected 0 (successful)`)
  const wrapper = response.enter(derTag.context0, field)
  response.end(field)
  const typed = wrapper.enter(derTag.sequence, field)
  wrapper.end(field)
  if (!equalBytes(typed.element(derTag.oid, field), basicOid)) throw new FormatError(field, 'is not a basic response')
  const inner = new DerReader(typed.contents(derTag.octetString, field))
  typed.end(field)

  const basic = inner.enter(derTag.sequence, field)
  inner.end(field)
  const tbs = basic.element(derTag.sequence, `${field}.tbsResponseData`)
  const signatureAlgorithm = basic.element(derTag.sequence, `${field}.signatureAlgorithm`)
  const signature = bitString(basic.contents(derTag.bitString, `${field}.signature`), `${field}.signature`)
  const certificates = basic.done ? [] : parseCertificates(basic, `${field}.certs`)
  basic.end(field)
  return { tbs, signatureAlgorithm, signature, certificates, ...parseResponseData(tbs, field) }
}

function parseCertificates(reader: DerReader, field: string): Certificate[] {
  const wrapper = reader.enter(derTag.context0, field)
  const list = wrapper.enter(derTag.sequence, field)
  wrapper.end(field)
  const certificates: Certificate[] = []
  while (!list.done) {
    if (certificates.length === certificateCountMax)
      throw new FormatError(field, `are more than ${certificateCountMax}`)
    const name = `${field}[${certificates.length}]`
    certificates.push(parseCertificate(list.element(derTag.sequence, name), name, 'any'))
  }
  return certificates
}

function parseResponseData(tbs: Uint8Array, field: string): Pick<OcspResponse, 'responder' | 'answers'> {
  const data = new DerReader(tbs).enter(derTag.sequence, field)
  // Version 1 is the default, which DER leaves out.
  if (data.nextTag === derTag.context0) throw new FormatError(`${field}.version`, 'is not the default v1')
  const responder = parseResponder(data, `${field}.responderID`)
  parseTime(data, `${field}.producedAt`, 'any')
  const list = data.enter(derTag.sequence, `${field}.responses`)
  const answers: OcspAnswer[] = []
  while (!list.done) {
    if (answers.length === answerCountMax) throw new FormatError(field, `has more than ${answerCountMax} answers`)
    answers.push(parseAnswer(list.enter(derTag.sequence, field), `${field}.responses[${answers.length}]`))
  }
  if (!data.done) refuseCritical(data.enter(derTag.context1, field), `${field}.responseExtensions`)
  data.end(field)
  return { responder, answers }
}

function parseResponder(data: DerReader, field: string): OcspResponse['responder'] {
  const byName = data.nextTag === derTag.context1
  const wrapper = data.enter(byName ? derTag.context1 : derTag.context2, field)
  const responder = byName
    ? { name: wrapper.element(derTag.sequence, field) }
    : { keyHash: wrapper.contents(derTag.octetString, field) }
  wrapper.end(field)
  return responder
}

// AlgorithmIdentifier with NULL parameters or none: both are written.
const hashes: Readonly<Record<string, OcspAnswer['hash']>> = {
  '1.3.14.3.2.26': 'sha1',
  '2.16.840.1.101.3.4.2.1': 'sha256',
  '2.16.840.1.101.3.4.2.2': 'sha384',
}
const hashFunctions = { sha1: dangerousSha1, sha256, sha384 }

function parseAnswer(answer: DerReader, field: string): OcspAnswer {
  const id = answer.enter(derTag.sequence, `${field}.certID`)
  const algorithm = id.enter(derTag.sequence, `${field}.hashAlgorithm`)
  const oid = dottedOid(algorithm.contents(derTag.oid, `${field}.hashAlgorithm`), `${field}.hashAlgorithm`)
  if (!algorithm.done && algorithm.contents(derTag.null, `${field}.hashAlgorithm`).length > 0) {
    throw new FormatError(`${field}.hashAlgorithm`, 'has parameters')
  }
  algorithm.end(`${field}.hashAlgorithm`)
  const hash = Object.hasOwn(hashes, oid) ? hashes[oid] : undefined
  if (hash === undefined) throw new FormatError(`${field}.hashAlgorithm`, 'is not SHA-1, SHA-256 or SHA-384')
  const issuerNameHash = id.contents(derTag.octetString, `${field}.issuerNameHash`)
  const issuerKeyHash = id.contents(derTag.octetString, `${field}.issuerKeyHash`)
  const serial = id.contents(derTag.integer, `${field}.serialNumber`)
  checkInteger(serial, `${field}.serialNumber`)
  id.end(`${field}.certID`)
  const status = parseStatus(answer, `${field}.certStatus`)
  const thisUpdate = parseTime(answer, `${field}.thisUpdate`, 'any')
  let nextUpdate: number | undefined
  if (answer.nextTag === derTag.context0) {
    const wrapper = answer.enter(derTag.context0, `${field}.nextUpdate`)
    nextUpdate = parseTime(wrapper, `${field}.nextUpdate`, 'any')
    wrapper.end(`${field}.nextUpdate`)
  }
  if (!answer.done) refuseCritical(answer.enter(derTag.context1, field), `${field}.singleExtensions`)
  answer.end(field)
  return { hash, issuerNameHash, issuerKeyHash, serial: encodeHex(serial), status, thisUpdate, nextUpdate }
}

function parseStatus(answer: DerReader, field: string): OcspAnswer['status'] {
  // good [0] and unknown [2] are IMPLICIT NULL, revoked [1] an IMPLICIT RevokedInfo.
  for (const [tag, kind] of [[0x80, 'good'] as const, [0x82, 'unknown'] as const]) {
    if (answer.nextTag !== tag) continue
    if (answer.contents(tag, field).length > 0) throw new FormatError(field, 'is not NULL')
    return { kind }
  }
  const revoked = answer.enter(derTag.context1, field)
  const at = parseTime(revoked, `${field}.revocationTime`, 'any')
  let reason: number | undefined
  if (!revoked.done) {
    const wrapper = revoked.enter(derTag.context0, `${field}.revocationReason`)
    reason = enumerated(wrapper, `${field}.revocationReason`)
    wrapper.end(`${field}.revocationReason`)
    if (reason > 10 || reason === 7)
      throw new FormatError(`${field}.revocationReason`, `is ${reason}, which stands for nothing`)
  }
  revoked.end(field)
  return { kind: 'revoked', at, reason }
}

function enumerated(reader: DerReader, field: string): number {
  return smallInteger(reader.contents(derTag.enumerated, field), field)
}

function refuseCritical(wrapper: DerReader, field: string): void {
  const extensions = parseExtensions(wrapper.enter(derTag.sequence, field), field)
  wrapper.end(field)
  for (const [oid, { critical }] of extensions) {
    if (critical && oid !== nonceOid) throw new FormatError(`${field} ${oid}`, 'is critical and not known')
  }
}

const parsed = new WeakMap<Endorsements, readonly OcspResponse[]>()

/** The OCSP responses among `endorsements`; read once for each set. ERR_EVIDENCE_COLLATERAL_INVALID for a malformed one. */
export function ocspResponsesOf(endorsements: Endorsements): readonly OcspResponse[] {
  const known = parsed.get(endorsements)
  if (known) return known
  let responses: readonly OcspResponse[]
  try {
    responses = endorsements
      .all('ocsp')
      .map(({ content }, at) => reading(() => parseOcspResponse(content, `ocsp[${at}]`)))
  } catch (cause) {
    if (!(cause instanceof EvidenceError)) throw cause
    throw new EvidenceError('ERR_EVIDENCE_COLLATERAL_INVALID', cause.message, { cause })
  }
  parsed.set(endorsements, responses)
  return responses
}

/** What the responses establish about the certificates of a path at one time. */
export interface OcspVerdict {
  /** `partly` where a responder spoke of some of the certificates only. */
  readonly checked: 'all' | 'partly' | 'none'
  readonly notBefore: number
  readonly notAfter: number
  /** thisUpdate of the oldest answer that was used. */
  readonly issuedAt: number | undefined
}

interface JudgeOptions {
  readonly responses: readonly OcspResponse[]
  /** Unix seconds. */
  readonly now: number
  /** For messages. */
  readonly name: string
}

/**
 * Judges each certificate of `path` (leaf first) but the root by the newest answer about it that is in force at `now`
 * and signed by its issuer, or by a certificate of that issuer for OCSP signing (RFC 6960 §4.2.2.2). Throws
 * ERR_EVIDENCE_REVOKED, whose message tells a hold from a revocation; ERR_EVIDENCE_COLLATERAL_EXPIRED where every
 * answer is too old; ERR_EVIDENCE_COLLATERAL_INVALID where an answer about it is not of an entitled responder.
 */
export async function judgeByOcsp(path: readonly Certificate[], options: JudgeOptions): Promise<OcspVerdict> {
  let notBefore = Number.NEGATIVE_INFINITY
  let notAfter = Number.POSITIVE_INFINITY
  let issuedAt: number | undefined
  let count = 0
  for (let at = 0; at + 1 < path.length; at++) {
    const name = at === 0 ? options.name : `${options.name}, issuer ${at}`
    const answer = await currentAnswer(path[at]!, path[at + 1]!, { ...options, name })
    if (answer === undefined) continue
    judgeAnswer(answer, name)
    count++
    notBefore = Math.max(notBefore, answer.thisUpdate)
    notAfter = Math.min(notAfter, endOf(answer))
    issuedAt = Math.min(issuedAt ?? answer.thisUpdate, answer.thisUpdate)
  }
  const checked = count === 0 ? 'none' : count === path.length - 1 ? 'all' : 'partly'
  return { checked, notBefore, notAfter, issuedAt }
}

function judgeAnswer({ status }: OcspAnswer, name: string): void {
  if (status.kind === 'good') return
  if (status.kind === 'unknown') {
    throw new EvidenceError('ERR_EVIDENCE_REVOKED', `${name} is not known to its issuer’s OCSP responder`)
  }
  const what = status.reason === 6 ? 'put on hold (certificateHold)' : 'revoked'
  throw new EvidenceError('ERR_EVIDENCE_REVOKED', `${name} was ${what} by its issuer at ${timeText(status.at)}`)
}

function endOf(answer: OcspAnswer): number {
  return answer.nextUpdate ?? answer.thisUpdate + ocspLifetimeMax
}

async function currentAnswer(
  certificate: Certificate,
  issuer: Certificate,
  { responses, now, name }: JudgeOptions,
): Promise<OcspAnswer | undefined> {
  let newest: OcspAnswer | undefined
  let stale: OcspAnswer | undefined
  for (const response of responses) {
    const answer = response.answers.find((found) => isAbout(found, certificate, issuer))
    if (answer === undefined) continue
    if (answer.thisUpdate > now || endOf(answer) < now) {
      stale = answer
      continue
    }
    if (newest && answer.thisUpdate < newest.thisUpdate) continue
    await checkResponder(response, issuer, { now, name })
    // Of two answers of one second the worse one counts.
    if (newest && answer.thisUpdate === newest.thisUpdate && newest.status.kind !== 'good') continue
    newest = answer
  }
  if (newest === undefined && stale) {
    throw new EvidenceError(
      'ERR_EVIDENCE_COLLATERAL_EXPIRED',
      `${name}: the OCSP answer about it is of ${timeText(stale.thisUpdate)} to ${timeText(endOf(stale))}, now is ${timeText(now)}; fetch a fresh one`,
    )
  }
  return newest
}

function isAbout(answer: OcspAnswer, certificate: Certificate, issuer: Certificate): boolean {
  if (answer.serial !== encodeHex(certificate.serial)) return false
  const hash = hashFunctions[answer.hash]
  return (
    equalBytes(answer.issuerNameHash, hash(issuer.subject)) &&
    equalBytes(answer.issuerKeyHash, hash(keyOf(issuer.spki)))
  )
}

/** One name for all answers about the same certificates by one responder: editions of one thing. */
export function ocspSubject(answers: readonly Pick<OcspAnswer, 'serial' | 'issuerKeyHash'>[]): string {
  const issuers = new Set(answers.map(({ issuerKeyHash }) => encodeHex(issuerKeyHash.subarray(0, 6))))
  return `OCSP answer about ${answers.map(({ serial }) => serial).join(', ')} of issuer ${[...issuers].join(', ')}`
}

/** The time in which every answer holds, unix seconds. */
export function ocspWindow(answers: readonly OcspAnswer[]): { readonly notBefore: number; readonly notAfter: number } {
  return {
    notBefore: Math.max(...answers.map(({ thisUpdate }) => thisUpdate)),
    notAfter: Math.min(...answers.map(endOf)),
  }
}

/** The contents of the BIT STRING of a SubjectPublicKeyInfo, without its count of unused bits. RFC 6960 §4.1.1. */
export function keyOf(spki: Uint8Array): Uint8Array {
  const body = new DerReader(spki).enter(derTag.sequence, 'subjectPublicKeyInfo')
  body.element(derTag.sequence, 'subjectPublicKeyInfo')
  return bitString(body.contents(derTag.bitString, 'subjectPublicKeyInfo'), 'subjectPublicKeyInfo')
}

async function checkResponder(
  response: OcspResponse,
  issuer: Certificate,
  { now, name }: { now: number; name: string },
): Promise<void> {
  for (const signer of [issuer, ...response.certificates]) {
    if (!isNamed(response.responder, signer)) continue
    if (signer !== issuer && !(await isDelegate(signer, issuer, name))) continue
    if (signer !== issuer) checkWindow(signer, now, `${name}: certificate of its OCSP responder`)
    if (await isSignedBy(response, signer.spki, `${name}: OCSP response`)) return
  }
  throw new EvidenceError(
    'ERR_EVIDENCE_COLLATERAL_INVALID',
    `${name}: the OCSP response about it is signed neither by its issuer nor by a responder that the issuer named`,
  )
}

function isNamed(responder: OcspResponse['responder'], signer: Certificate): boolean {
  if ('name' in responder) return equalBytes(responder.name, signer.subject)
  return equalBytes(responder.keyHash, dangerousSha1(keyOf(signer.spki)))
}

async function isDelegate(signer: Certificate, issuer: Certificate, name: string): Promise<boolean> {
  if (!equalBytes(signer.issuer, issuer.subject) || !mayUseKeyFor(signer, 'digitalSignature')) return false
  const usage = signer.extensions.get('2.5.29.37')
  if (usage === undefined) return false
  const purposes = new DerReader(usage.value).enter(derTag.sequence, 'extendedKeyUsage')
  let entitled = false
  while (!purposes.done)
    entitled = equalBytes(purposes.element(derTag.oid, 'extendedKeyUsage'), ocspSigningOid) || entitled
  return entitled && (await isSignedBy(signer, issuer.spki, `${name}: certificate of its OCSP responder`))
}
