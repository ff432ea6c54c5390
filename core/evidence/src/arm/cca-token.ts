import { equalBytes, FormatError } from '@cella/bytes'
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
import { sha256, sha384, sha512 } from '@cella/primitives'
import { type EcPublicKey, ecPublicKeyOf, parseCoseEc2Key } from '../cose/key.ts'
import { type CoseSign1, parseCoseSign1 } from '../cose/sign1.ts'
import { EvidenceError } from '../error.ts'
import { type ArmLifecycle, lifecycleOf } from './lifecycle.ts'
import { type ArmSoftware, hashOf, softwareOf } from './software.ts'

// RMM specification (DEN0137) A7.2: keys of the collection and of the claims. 10, 256 and 265 are EAT's, 2394 to 2400
// PSA's.
/** Of a map of byte strings (RMM 1.0), and of a CMW collection whose records say that each is an EAT (RMM 2.0). */
export const ccaTags = { plain: 399, cmw: 907 } as const
/** CoAP content format of application/eat+cwt. */
const eatFormat = 263
const platformTokenKey = 44234
const realmTokenKey = 44241
const key = {
  nonce: 10,
  instanceId: 256,
  profile: 265,
  lifecycle: 2395,
  implementationId: 2396,
  software: 2399,
  verificationService: 2400,
  config: 2401,
  platformHash: 2402,
  personalization: 44235,
  realmHash: 44236,
  realmKey: 44237,
  initialMeasurement: 44238,
  extensibleMeasurements: 44239,
  realmKeyHash: 44240,
} as const

const platformProfiles = ['tag:arm.com,2023:cca_platform#1.0.0', 'http://arm.com/CCA-SSD/1.0.0']
/** Says that the realm's key is a COSE_Key. Without a profile, as RMM wrote it before, it is a bare point. */
const realmProfile = 'tag:arm.com,2023:realm#1.0.0'

/** Real tokens have 2 KiB; the delegated attestation interface allows 4. */
export const ccaTokenBytesMax = 16_384
const partBytesMax = 8192
const claimsOptions = { bytesMax: partBytesMax, itemsMax: 1024, depthMax: 4 } as const

const hashes = { 'sha-256': sha256, 'sha-384': sha384, 'sha-512': sha512 } as const
type HashName = keyof typeof hashes

interface CcaPlatform {
  readonly profile: string
  /** Digest of the realm's key: what binds the two tokens. */
  readonly challenge: Uint8Array
  /** 32 bytes: which design of platform. */
  readonly implementationId: Uint8Array
  /** 33 bytes, the first one 1: which device. */
  readonly instanceId: Uint8Array
  /** The platform's choice of options, in its maker's form. */
  readonly config: Uint8Array
  readonly lifecycle: ArmLifecycle
  readonly software: readonly ArmSoftware[]
  readonly verificationService: string | undefined
  readonly hash: string
}

interface CcaRealm {
  /** `undefined` in tokens of the legacy profile. */
  readonly profile: string | undefined
  /** 64 bytes that the realm handed in. */
  readonly challenge: Uint8Array
  /** 64 bytes that whoever made the realm handed in. */
  readonly personalization: Uint8Array
  readonly initialMeasurement: Uint8Array
  /** Four, which the realm extends. */
  readonly extensibleMeasurements: readonly Uint8Array[]
  readonly hash: HashName
  readonly publicKey: EcPublicKey
  /** The bytes of the key claim, which the platform's challenge is the digest of. */
  readonly publicKeyBytes: Uint8Array
  readonly publicKeyHash: HashName
}

/** The parts of a CCA token. Nothing about them has been verified. */
export interface CcaToken {
  readonly platformMessage: CoseSign1
  readonly platform: CcaPlatform
  readonly realmMessage: CoseSign1
  readonly realm: CcaRealm
}

/**
 * Reads a CCA attestation token: CBOR tag 399, or 907 for the same as a CMW collection, platform and realm token as
 * COSE_Sign1 in byte strings, nothing after it; at most 16 KiB. Claims that the specification doesn't name are passed over. Throws FormatError; ERR_EVIDENCE_UNSUPPORTED
 * for profiles that are not read here. Results share memory with `bytes`.
 */
export function parseCcaToken(bytes: Uint8Array): CcaToken {
  const collection = decodeCbor(bytes, 'token', { bytesMax: ccaTokenBytesMax, itemsMax: 64, depthMax: 4 })
  const isCmw = collection.type === 'tag' && collection.tag === ccaTags.cmw
  const parts = cborMap(cborTagged(collection, isCmw ? ccaTags.cmw : ccaTags.plain, 'token'), 'token', {
    min: 2,
    max: 2,
  })
  const message = (label: number, field: string): CoseSign1 => {
    const part = isCmw ? eatOf(parts.get(label), field) : parts.get(label)
    return parseCoseSign1(cborBytes(part, field), field, { bytesMax: partBytesMax })
  }
  const platformMessage = message(platformTokenKey, 'token.platform')
  const realmMessage = message(realmTokenKey, 'token.realm')
  return {
    platformMessage,
    platform: platformOf(platformMessage.payload, 'token.platform'),
    realmMessage,
    realm: realmOf(realmMessage.payload, 'token.realm'),
  }
}

/** draft-ffm-rats-cca-token-02: `[263, bytes]`, no indicator. */
function eatOf(record: CborItem | undefined, field: string): CborItem | undefined {
  const [type, content] = cborArray(record, field, { min: 2, max: 2 })
  cborInteger(type, `${field} type`, { min: eatFormat, max: eatFormat })
  return content
}

function platformOf(payload: Uint8Array, field: string): CcaPlatform {
  const claims = cborMap(decodeCbor(payload, field, claimsOptions), field)
  const profile = cborText(claims.get(key.profile), `${field}.profile`)
  if (!platformProfiles.includes(profile)) throw profileRefused(profile, field, platformProfiles)
  return {
    profile,
    challenge: hashOf(claims.get(key.nonce), `${field}.challenge`),
    implementationId: cborBytes(claims.get(key.implementationId), `${field}.implementationId`, { min: 32, max: 32 }),
    instanceId: instanceIdOf(claims.get(key.instanceId), `${field}.instanceId`),
    config: cborBytes(claims.get(key.config), `${field}.config`, { max: 1024 }),
    lifecycle: lifecycleOf(claims.get(key.lifecycle), `${field}.lifecycle`),
    software: softwareOf(claims.get(key.software), `${field}.software`),
    verificationService: claims.has(key.verificationService)
      ? cborText(claims.get(key.verificationService), `${field}.verificationService`, { min: 1, max: 512 })
      : undefined,
    hash: hashNameOf(claims.get(key.platformHash), `${field}.hash`),
  }
}

function realmOf(payload: Uint8Array, field: string): CcaRealm {
  const claims = cborMap(decodeCbor(payload, field, claimsOptions), field)
  const profile = claims.has(key.profile) ? cborText(claims.get(key.profile), `${field}.profile`) : undefined
  if (profile !== undefined && profile !== realmProfile) throw profileRefused(profile, field, [realmProfile])
  const publicKeyBytes = cborBytes(claims.get(key.realmKey), `${field}.publicKey`, { max: 1024 })
  return {
    profile,
    challenge: cborBytes(claims.get(key.nonce), `${field}.challenge`, { min: 64, max: 64 }),
    personalization: cborBytes(claims.get(key.personalization), `${field}.personalization`, { min: 64, max: 64 }),
    initialMeasurement: hashOf(claims.get(key.initialMeasurement), `${field}.initialMeasurement`),
    extensibleMeasurements: cborArray(claims.get(key.extensibleMeasurements), `${field}.extensibleMeasurements`, {
      min: 4,
      max: 4,
    }).map((item, at) => hashOf(item, `${field}.extensibleMeasurements[${at}]`)),
    hash: hashNameOf(claims.get(key.realmHash), `${field}.hash`),
    publicKey:
      profile === undefined
        ? ecPublicKeyOf(publicKeyBytes, `${field}.publicKey`)
        : parseCoseEc2Key(publicKeyBytes, `${field}.publicKey`),
    publicKeyBytes,
    publicKeyHash: hashNameOf(claims.get(key.realmKeyHash), `${field}.publicKeyHash`),
  }
}

/** Whether the platform vouches for the realm's key: its challenge is the digest of the claim's bytes. RMM A7.2.3.2.2. */
export function bindsRealm({ platform, realm }: CcaToken): boolean {
  return equalBytes(platform.challenge, hashes[realm.publicKeyHash](realm.publicKeyBytes))
}

/** A UEID of the kind RAND: 33 bytes, the first one 1. RFC 9711 §4.2.1. */
export function instanceIdOf(item: CborItem | undefined, field: string): Uint8Array {
  const id = cborBytes(item, field, { min: 33, max: 33 })
  if (id[0] !== 1) throw new FormatError(field, `is a UEID of kind ${id[0]}, expected 1 (RAND)`)
  return id
}

function hashNameOf(item: CborItem | undefined, field: string): HashName {
  const name = cborText(item, field)
  if (name !== 'sha-256' && name !== 'sha-384' && name !== 'sha-512') {
    throw new FormatError(field, 'is not sha-256, sha-384 or sha-512')
  }
  return name
}

function profileRefused(profile: string, field: string, known: readonly string[]): EvidenceError {
  return new EvidenceError(
    'ERR_EVIDENCE_UNSUPPORTED',
    `${field}: is of the profile ${JSON.stringify(profile.slice(0, 80))}; read are ${known.join(' and ')}`,
  )
}
