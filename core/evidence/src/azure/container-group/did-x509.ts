import { decodeBase64url, encodeHex, equalBytes, FormatError } from '@cella/bytes'
import { sha256, sha384, sha512 } from '@cella/primitives'
import { EvidenceError } from '../../error.ts'
import type { Certificate } from '../../x509/certificate.ts'
import { DerReader, derOid, derTag } from '../../x509/der.ts'

const textLengthMax = 512
const hashes: { readonly [name: string]: ((bytes: Uint8Array) => Uint8Array) | undefined } = { sha256, sha384, sha512 }

/** A `did:x509` of version 0: a name for the holders of leaf certificates below one CA that fulfil policies. */
export interface DidX509 {
  readonly hash: 'sha256' | 'sha384' | 'sha512'
  /** Of the CA's whole certificate. */
  readonly fingerprint: Uint8Array
  /** Extended key usages that the leaf has to have, dotted. */
  readonly purposes: readonly string[]
}

/**
 * Reads `did:x509:0:HASH:FINGERPRINT::eku:OID…`. Throws FormatError; ERR_EVIDENCE_UNSUPPORTED for another policy than
 * `eku` (subject, san, fulcio-issuer): one that was passed over would widen the name.
 */
export function parseDidX509(text: string): DidX509 {
  if (text.length > textLengthMax) throw new FormatError('did:x509', `has ${text.length} characters`)
  const [head, ...policies] = text.split('::')
  const match = /^did:x509:0:(sha256|sha384|sha512):([A-Za-z0-9_-]+)$/.exec(head ?? '')
  if (match === null) throw new FormatError('did:x509', 'is not did:x509:0 with a hash and a fingerprint')
  const hash = match[1] as DidX509['hash']
  const fingerprint = decodeBase64url(match[2]!, 'did:x509 fingerprint')
  if (fingerprint.length !== Number(hash.slice(3)) / 8)
    throw new FormatError('did:x509 fingerprint', `is not a ${hash}`)
  if (policies.length === 0) throw new FormatError('did:x509', 'names no policy')
  const purposes = policies.map((policy) => {
    const [name, ...values] = policy.split(':')
    if (name !== 'eku') {
      throw new EvidenceError(
        'ERR_EVIDENCE_UNSUPPORTED',
        'did:x509: has a policy other than eku, which is not read here',
      )
    }
    const [oid] = values
    if (values.length !== 1 || oid === undefined || !/^[0-2](?:\.(?:0|[1-9][0-9]{0,8})){2,15}$/.test(oid)) {
      throw new FormatError('did:x509 eku', 'is not one object identifier')
    }
    return oid
  })
  return { hash, fingerprint, purposes }
}

/**
 * Throws EvidenceError ERR_EVIDENCE_CHAIN unless `path` (leaf first, its signatures verified) is of `did`: one of the
 * certificates above the leaf has the fingerprint, the leaf has every purpose.
 */
export function checkDidX509(did: DidX509, path: readonly Certificate[]): void {
  const hash = hashes[did.hash]!
  const [leaf, ...issuers] = path
  if (!issuers.some(({ der }) => equalBytes(hash(der), did.fingerprint))) {
    throw new EvidenceError(
      'ERR_EVIDENCE_CHAIN',
      `did:x509: no issuer in the chain has the fingerprint ${encodeHex(did.fingerprint)} that the name says`,
    )
  }
  const found = leaf ? purposesOf(leaf) : []
  const missing = did.purposes.find((oid) => !found.some((purpose) => equalBytes(purpose, derOid(oid))))
  if (missing !== undefined) {
    throw new EvidenceError(
      'ERR_EVIDENCE_CHAIN',
      `did:x509: the leaf certificate lacks the purpose ${missing} of the name`,
    )
  }
}

/** Whole DER object identifiers. */
function purposesOf(leaf: Certificate): Uint8Array[] {
  const extension = leaf.extensions.get('2.5.29.37')
  if (extension === undefined) return []
  const outer = new DerReader(extension.value)
  const list = outer.enter(derTag.sequence, 'extKeyUsage')
  outer.end('extKeyUsage')
  const purposes: Uint8Array[] = []
  while (!list.done) purposes.push(list.element(derTag.oid, 'extKeyUsage'))
  return purposes
}
