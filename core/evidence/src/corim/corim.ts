import { encodeHex, FormatError } from '@cella/bytes'
import {
  type CborItem,
  cborArray,
  cborBytes,
  cborInteger,
  cborMap,
  cborTagged,
  cborText,
  decodeCbor,
} from '@cella/cbor'
import { type CoseSign1, coseHeader, coseSign1Of, coseTag, verifyCoseSign1 } from '../cose/sign1.ts'
import { EvidenceError } from '../error.ts'
import { timeText } from '../x509/path.ts'
import { type CorimAttestKey, type CorimReference, parseComid } from './comid.ts'
import { corimTag } from './values.ts'

const corimBytesMax = 1_048_576
const decoding = { bytesMax: corimBytesMax, itemsMax: 65_536 } as const
const contentTypes = ['application/rim+cbor', 'application/corim-unsigned+cbor']
const signerCountMax = 64
// Header parameters of a signed CoRIM (draft-ietf-rats-corim §4.2), and the hash envelope's.
const header = { meta: 8, cwtClaims: 15, payloadHash: 258 } as const

/** A concise reference integrity manifest, as far as it is about reference values and keys. */
export interface Corim {
  /** Text, or a UUID in hexadecimal. */
  readonly id: string
  /** URI, or an OID in hexadecimal. */
  readonly profile: string | null
  /** Who signed, in the signer's own words; `null` where it came unsigned. */
  readonly signer: string | null
  /** Unix seconds, both inclusive: the manifest's window and the signature's. */
  readonly notBefore: number | 'any'
  readonly notAfter: number | 'any'
  readonly references: readonly CorimReference[]
  readonly attestKeys: readonly CorimAttestKey[]
  /** What else is inside and says nothing about reference values. */
  readonly passedOver: readonly string[]
}

/**
 * Reads an unsigned CoRIM (CBOR tag 501), at most 1 MiB, that came over a way which is trusted. Throws EvidenceError:
 * ERR_EVIDENCE_COLLATERAL_INVALID if malformed, ERR_EVIDENCE_COLLATERAL_EXPIRED outside of its window at `now` (unix
 * seconds), ERR_EVIDENCE_UNSUPPORTED where it says something that is not read here and would narrow a reference.
 */
export function readCorim(bytes: Uint8Array, options: { readonly now: number }): Corim {
  return reading(() => {
    const copy = Uint8Array.from(bytes.subarray(0, corimBytesMax + 1))
    const item = decodeCbor(copy, 'CoRIM', decoding)
    if (item.type === 'tag' && item.tag === coseTag.sign1) throw new FormatError('CoRIM', 'is signed; verify it')
    const corim = corimOf(item, { signer: null, notBefore: 'any', notAfter: 'any' })
    checkWindow(corim, options.now)
    return corim
  })
}

/**
 * Verifies a signed CoRIM (COSE_Sign1, tag 18) under one of the keys `signers` (DER SubjectPublicKeyInfo, 1 to 64) that
 * the relying party trusts for reference values, and reads it as `readCorim` does. A certificate inside is not looked
 * at. Throws ERR_EVIDENCE_SIGNATURE where none of the keys has signed it.
 */
export async function verifyCorim(
  bytes: Uint8Array,
  { signers, now }: { readonly signers: readonly Uint8Array[]; readonly now: number },
): Promise<Corim> {
  if (signers.length === 0 || signers.length > signerCountMax) {
    throw new RangeError(`signers: there are ${signers.length}, expected 1 to ${signerCountMax}`)
  }
  const copy = Uint8Array.from(bytes.subarray(0, corimBytesMax + 1))
  const message = reading(() => {
    const item = decodeCbor(copy, 'CoRIM', decoding)
    if (item.type !== 'tag' || item.tag !== coseTag.sign1) throw new FormatError('CoRIM', 'is not signed (CBOR tag 18)')
    return coseSign1Of(item, 'CoRIM')
  })
  let genuine = false
  for (const spki of signers) genuine ||= await verifyCoseSign1(message, spki)
  if (!genuine) throw new EvidenceError('ERR_EVIDENCE_SIGNATURE', 'CoRIM: is signed by none of the keys that may')
  return reading(() => {
    if (message.protected.has(header.payloadHash)) {
      throw new EvidenceError('ERR_EVIDENCE_UNSUPPORTED', 'CoRIM: has a digest in place of its content (hash envelope)')
    }
    const contentType = cborText(message.protected.get(coseHeader.contentType), 'CoRIM.content-type')
    if (!contentTypes.includes(contentType)) throw new FormatError('CoRIM.content-type', `is not ${contentTypes[0]}`)
    const corim = corimOf(decodeCbor(message.payload, 'CoRIM', decoding), signatureOf(message))
    checkWindow(corim, now)
    return corim
  })
}

type Window = Pick<Corim, 'notBefore' | 'notAfter'>
type Signature = Window & Pick<Corim, 'signer'>

function signatureOf(message: CoseSign1): Signature {
  const meta = message.protected.get(header.meta)
  const claims = message.protected.get(header.cwtClaims)
  if (meta === undefined && claims === undefined) throw new FormatError('CoRIM', 'does not say who signed it')
  let signature: Signature = { signer: null, notBefore: 'any', notAfter: 'any' }
  if (meta) {
    const field = 'CoRIM.meta'
    const entries = cborMap(decodeCbor(cborBytes(meta, field), field, { bytesMax: 8192, itemsMax: 256 }), field)
    const signer = cborText(cborMap(entries.get(0), `${field}.signer`).get(0), `${field}.signer.name`, { max: 1024 })
    signature = { signer, ...windowOf(entries.get(1), `${field}.signature-validity`) }
  }
  if (claims) {
    const field = 'CoRIM.CWT-Claims'
    const entries = cborMap(claims, field)
    const issuer = cborText(entries.get(1), `${field}.iss`, { max: 1024 })
    const time = (key: number): number | 'any' =>
      entries.has(key) ? cborInteger(entries.get(key), `${field}[${key}]`) : 'any'
    signature = {
      signer: signature.signer ?? issuer,
      ...narrower(signature, { notBefore: time(5), notAfter: time(4) }),
    }
  }
  return signature
}

function corimOf(item: CborItem, signature: Signature): Corim {
  const corim = cborMap(cborTagged(item, corimTag.unsigned, 'CoRIM'), 'CoRIM')
  const comids: ReturnType<typeof parseComid>[] = []
  const passedOver: string[] = corim.has(2) ? ['dependent manifests'] : []
  for (const [at, tag] of cborArray(corim.get(1), 'CoRIM.tags', { min: 1, max: 1024 }).entries()) {
    const field = `CoRIM.tags[${at}]`
    if (tag.type !== 'tag') throw new FormatError(field, `is a CBOR ${tag.type}, expected a tag`)
    if (tag.tag === corimTag.comid) comids.push(parseComid(cborBytes(tag.content, field), field))
    else passedOver.push(`tag ${tag.tag}`)
  }
  return {
    id: idOf(corim.get(0), 'CoRIM.id'),
    profile: corim.has(3) ? profileOf(corim.get(3)!, 'CoRIM.profile') : null,
    signer: signature.signer,
    ...narrower(signature, windowOf(corim.get(4), 'CoRIM.rim-validity')),
    references: comids.flatMap(({ references }) => references),
    attestKeys: comids.flatMap(({ attestKeys }) => attestKeys),
    passedOver: [...passedOver, ...comids.flatMap((comid) => comid.passedOver)],
  }
}

function idOf(item: CborItem | undefined, field: string): string {
  if (item?.type === 'text') return cborText(item, field, { min: 1, max: 1024 })
  const uuid = item?.type === 'tag' ? cborTagged(item, corimTag.uuid, field) : item
  return encodeHex(cborBytes(uuid, field, { min: 16, max: 16 }))
}

function profileOf(item: CborItem, field: string): string {
  if (item.type === 'tag' && item.tag === corimTag.oid) return encodeHex(cborBytes(item.content, field, { max: 256 }))
  return cborText(item.type === 'tag' ? cborTagged(item, corimTag.uri, field) : item, field, { min: 1, max: 1024 })
}

/** validity-map: times are tagged integers (RFC 8949 §3.4.2). */
function windowOf(item: CborItem | undefined, field: string): Window {
  if (item === undefined) return { notBefore: 'any', notAfter: 'any' }
  const entries = cborMap(item, field)
  const time = (key: number): number => cborInteger(cborTagged(entries.get(key), corimTag.time, field), field)
  return { notBefore: entries.has(0) ? time(0) : 'any', notAfter: time(1) }
}

function narrower(a: Window, b: Window): Window {
  const pick = (x: number | 'any', y: number | 'any', choose: (...numbers: number[]) => number): number | 'any' =>
    x === 'any' ? y : y === 'any' ? x : choose(x, y)
  return {
    notBefore: pick(a.notBefore, b.notBefore, Math.max),
    notAfter: pick(a.notAfter, b.notAfter, Math.min),
  }
}

function checkWindow({ id, notBefore, notAfter }: Corim, now: number): void {
  if (!Number.isFinite(now)) throw new RangeError(`now: ${now}`)
  if ((notBefore !== 'any' && now < notBefore) || (notAfter !== 'any' && now > notAfter)) {
    const shown = (time: number | 'any'): string => (time === 'any' ? 'any time' : timeText(time))
    throw new EvidenceError(
      'ERR_EVIDENCE_COLLATERAL_EXPIRED',
      `CoRIM ${id}: is in force from ${shown(notBefore)} until ${shown(notAfter)}, now is ${timeText(now)}; fetch a fresh one`,
    )
  }
}

function reading<T>(read: () => T): T {
  try {
    return read()
  } catch (cause) {
    if (cause instanceof FormatError)
      throw new EvidenceError('ERR_EVIDENCE_COLLATERAL_INVALID', cause.message, { cause })
    throw cause
  }
}
