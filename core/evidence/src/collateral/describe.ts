import { type Digest, FormatError } from '@cella/bytes'
import { digestOf } from '@cella/primitives'
import type { Endorsement } from '../endorsements.ts'
import { EvidenceError, reading } from '../error.ts'
import { parseEnclaveIdentity } from '../intel/enclave-identity.ts'
import { parseTcbInfo } from '../intel/tcb-info.ts'
import { ocspSubject, ocspWindow, parseOcspResponse } from '../nvidia/ocsp.ts'
import { parseCertificate } from '../x509/certificate.ts'
import { parseCrl } from '../x509/crl.ts'
import { DerReader, derTag } from '../x509/der.ts'

/** What a piece of collateral is about and when it holds, as it says itself: nothing has been verified. */
export interface CollateralDescription {
  readonly kind: Endorsement['kind']
  /** SHA-256 of the content. */
  readonly digest: Digest
  /** For people: `CRL of Intel SGX Root CA`. Two pieces with one subject are editions of one thing. */
  readonly subject: string
  /** Unix seconds, both inclusive; `undefined` where the content sets no bound. */
  readonly notBefore: number | undefined
  readonly notAfter: number | undefined
}

/** Throws EvidenceError for content that isn't of its kind. */
export function describeCollateral({ kind, content }: Endorsement): CollateralDescription {
  const digest = digestOf(content)
  return { kind, digest, ...reading(() => describe(kind, content, digest)) }
}

type Described = Pick<CollateralDescription, 'subject' | 'notBefore' | 'notAfter'>

function describe(kind: Endorsement['kind'], content: Uint8Array, digest: Digest): Described {
  switch (kind) {
    case 'certificate': {
      const { subject, notBefore, notAfter } = parseCertificate(content, 'certificate')
      // Certificates of many chips share one name, so the content tells them apart.
      return { subject: `certificate ${nameText(subject)} ${digest.slice(0, 12)}`, notBefore, notAfter }
    }
    case 'crl': {
      const { issuer, thisUpdate, nextUpdate } = parseCrl(content, 'CRL')
      return { subject: `CRL of ${nameText(issuer)}`, notBefore: thisUpdate, notAfter: nextUpdate }
    }
    case 'tcb-info': {
      const { tee, fmspc, version, issuedAt, nextUpdate } = parseTcbInfo(content, 'TCB info').statement
      return {
        subject: `TCB info v${version} of ${tee.toUpperCase()} FMSPC ${fmspc}`,
        notBefore: issuedAt,
        notAfter: nextUpdate,
      }
    }
    case 'enclave-identity': {
      const { id, version, issuedAt, nextUpdate } = parseEnclaveIdentity(content, 'enclave identity').statement
      return { subject: `identity v${version} of ${id}`, notBefore: issuedAt, notAfter: nextUpdate }
    }
    case 'public-key':
      checkPublicKey(content)
      return { subject: `public key ${digest}`, notBefore: undefined, notAfter: undefined }
    case 'rim':
      return {
        subject: `reference manifest${manifestText(content)} ${digest.slice(0, 12)}`,
        notBefore: undefined,
        notAfter: undefined,
      }
    case 'ocsp': {
      const { answers } = parseOcspResponse(content, 'OCSP response')
      if (answers.length === 0) throw new FormatError('OCSP response', 'answers nothing')
      return { subject: ocspSubject(answers), ...ocspWindow(answers) }
    }
  }
}

/** RFC 5280 §4.1.2.7: SEQUENCE { AlgorithmIdentifier, BIT STRING } and nothing else. */
function checkPublicKey(content: Uint8Array): void {
  const outer = new DerReader(content)
  const key = outer.enter(derTag.sequence, 'public key')
  outer.end('public key')
  key.element(derTag.sequence, 'public key')
  key.contents(derTag.bitString, 'public key')
  key.end('public key')
}

/** What a manifest of NVIDIA's says that it is for, as far as its text shows without reading all of the XML. */
function manifestText(content: Uint8Array): string {
  const start = new TextDecoder('latin1').decode(content.subarray(0, 4096))
  const product = /\bproduct="([A-Za-z0-9_]{1,16})"/.exec(start)?.[1]
  const version = /\bcolloquialVersion="([A-Za-z0-9._-]{1,32})"/.exec(start)?.[1]
  return product === undefined || version === undefined ? '' : ` of ${product} ${version.toUpperCase()}`
}

const commonName = '550403'

/** The common name of a DER Name, else its digest. */
function nameText(name: Uint8Array): string {
  const sets = new DerReader(name).enter(derTag.sequence, 'name')
  while (!sets.done) {
    const attribute = sets.enter(derTag.set, 'name').enter(derTag.sequence, 'name')
    const type = attribute.contents(derTag.oid, 'name').toHex()
    const tag = attribute.nextTag
    if (type !== commonName || tag === undefined) continue
    return String.fromCharCode(...attribute.contents(tag, 'name')).replaceAll(/[^\x20-\x7e]/g, '?')
  }
  return digestOf(name).slice(0, 12)
}

/** Whether the content is of its kind. */
export function isCollateral(endorsement: Endorsement): boolean {
  try {
    describeCollateral(endorsement)
    return true
  } catch (error) {
    if (error instanceof EvidenceError) return false
    throw error
  }
}
