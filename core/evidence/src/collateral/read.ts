import {
  canonicalJson,
  decodeBase64,
  decodeBase64url,
  encodeBase64url,
  encodeUtf8,
  FormatError,
  type Json,
  parseCanonicalJson,
} from '@cella/bytes'
import { type Endorsement, endorsementKinds } from '../endorsements.ts'
import { EvidenceError, reading } from '../error.ts'
import { intelEndorsementsOf } from '../intel/readers.ts'
import { jsonObject, parseForeignJson } from '../jwt/json.ts'
import { isCollateral } from './describe.ts'

/** Bytes of a collateral file or bundle that are read at most. */
export const collateralBytesMax = 16_777_216
const countMax = 4096
const format = 'cella-collateral/1'

/** One file that carries collateral to a machine without a network: canonical JSON, see docs/formats/collateral.md. */
export function encodeCollateral(endorsements: readonly Endorsement[]): Uint8Array {
  return encodeUtf8(
    canonicalJson({
      format,
      endorsements: endorsements.map(({ kind, content }) => ({ kind, content: encodeBase64url(content) })),
    }),
  )
}

/**
 * The endorsements of a file, whatever wrote it: a bundle of `encodeCollateral`; PEM of certificates, CRLs and public
 * keys; one DER certificate, CRL, OCSP response or public key; Intel's TCB info or enclave identity as its service answers; the
 * collateral JSON of Intel's quote verification library; an XML manifest, by itself or as NVIDIA's service answers it. Each piece is read as far as telling what it
 * is about. Throws EvidenceError; nothing is verified.
 */
export function readCollateral(bytes: Uint8Array): readonly Endorsement[] {
  if (bytes.length > collateralBytesMax) {
    throw new EvidenceError(
      'ERR_EVIDENCE_MALFORMED',
      `collateral has ${bytes.length} bytes, at most ${collateralBytesMax}`,
    )
  }
  return reading(() => {
    const found = readByBeginning(bytes)
    const bad = found.findIndex((endorsement) => !isCollateral(endorsement))
    if (bad >= 0) throw new FormatError(`collateral[${bad}]`, `is no ${found[bad]!.kind}`)
    return found
  })
}

function readByBeginning(bytes: Uint8Array): readonly Endorsement[] {
  const start = String.fromCharCode(...bytes.subarray(0, 64)).trimStart()
  if (start.startsWith('{"endorsements":')) return readBundle(bytes)
  if (start.startsWith('{"tcbInfo":')) return [{ kind: 'tcb-info', content: bytes }]
  if (start.startsWith('{"enclaveIdentity":')) return [{ kind: 'enclave-identity', content: bytes }]
  if (start.startsWith('{')) return readManifestAnswer(bytes) ?? intelEndorsementsOf(bytes)
  if (start.startsWith('-----BEGIN ')) return readPem(bytes)
  if (start.startsWith('<')) return [{ kind: 'rim', content: bytes }]
  if (bytes[0] === 0x30) {
    const kinds = ['certificate', 'crl', 'ocsp', 'public-key'] as const
    const kind = kinds.find((one) => isCollateral({ kind: one, content: bytes }))
    if (kind) return [{ kind, content: bytes }]
  }
  throw new FormatError(
    'collateral',
    'is no certificate, CRL, public key, TCB info, identity, manifest or bundle of these',
  )
}

/** `{"id": …, "rim": base64 of the XML, …}`; `undefined` for other JSON. */
function readManifestAnswer(bytes: Uint8Array): readonly Endorsement[] | undefined {
  const answer = parseForeignJson(bytes, 'collateral', collateralBytesMax)
  const rim = jsonObject(answer, 'collateral').rim
  return typeof rim === 'string' ? [{ kind: 'rim', content: decodeBase64(rim, 'collateral.rim') }] : undefined
}

function readBundle(bytes: Uint8Array): readonly Endorsement[] {
  const bundle = parseCanonicalJson(bytes, 'collateral', collateralBytesMax)
  const { endorsements, format: found, ...rest } = objectOf(bundle, 'collateral')
  if (found !== format || Object.keys(rest).length > 0) throw new FormatError('collateral.format', `is not ${format}`)
  if (!Array.isArray(endorsements) || endorsements.length > countMax) {
    throw new FormatError('collateral.endorsements', `is not a list of at most ${countMax}`)
  }
  return endorsements.map((item: Json, at) => {
    const field = `collateral.endorsements[${at}]`
    const { kind, content, ...more } = objectOf(item, field)
    const known = endorsementKinds.find((name) => name === kind)
    if (known === undefined || typeof content !== 'string' || Object.keys(more).length > 0) {
      throw new FormatError(field, 'is not a known kind with its content')
    }
    return { kind: known, content: decodeBase64url(content, field) }
  })
}

const pemKinds: Readonly<Record<string, Endorsement['kind']>> = {
  CERTIFICATE: 'certificate',
  'X509 CRL': 'crl',
  'PUBLIC KEY': 'public-key',
}

/** RFC 7468 blocks, nothing but white space between them. */
function readPem(bytes: Uint8Array): readonly Endorsement[] {
  const text = new TextDecoder().decode(bytes)
  const found: Endorsement[] = []
  const rest = text.replaceAll(
    /-----BEGIN ([A-Z0-9 ]+)-----\s([A-Za-z0-9+/=\s]*?)-----END \1-----/g,
    (_, label, body) => {
      const kind = Object.hasOwn(pemKinds, label) ? pemKinds[label] : undefined
      if (kind === undefined) throw new FormatError('PEM', `has a block ${label}, which is no collateral`)
      found.push({ kind, content: decodeBase64(body.replaceAll(/\s+/g, ''), `PEM ${label}`) })
      return ''
    },
  )
  if (rest.trim() !== '') throw new FormatError('PEM', 'has text outside of its blocks, or a block without its end')
  return found
}

function objectOf(value: Json, field: string): { readonly [name: string]: Json } {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new FormatError(field, 'is no object')
  return value as { readonly [name: string]: Json }
}
