import { FormatError } from '@cella/bytes'
import { type CborItem, type CborKey, cborBytes, cborInteger, cborMap, cborText, decodeCbor } from '@cella/cbor'
import { type CoseSign1, parseCoseSign1 } from '../cose/sign1.ts'
import { EvidenceError } from '../error.ts'
import { instanceIdOf } from './cca-token.ts'
import { type ArmLifecycle, lifecycleOf } from './lifecycle.ts'
import { type ArmSoftware, hashOf, softwareOf } from './software.ts'

/** Tokens of TF-M have 500 bytes. */
export const psaTokenBytesMax = 8192

interface Profile {
  readonly name: string
  readonly nonce: number
  readonly instanceId: number
  readonly profile: number
  readonly clientId: number
  readonly lifecycle: number
  readonly implementationId: number
  readonly bootSeed: { readonly key: number; readonly min: number; readonly required: boolean }
  readonly certification: { readonly key: number; readonly form: RegExp }
  readonly software: number
  /** Says that nothing was measured; only the first profile has it. */
  readonly noSoftware?: number
  readonly verificationService: number
}

const ean13And5 = /^[0-9]{13}-[0-9]{5}$/

/** draft-tschofenig-rats-psa-token-07: claims of Arm's private range, the profile's own among them and optional. */
const profile1: Profile = {
  name: 'PSA_IOT_PROFILE_1',
  profile: -75000,
  clientId: -75001,
  lifecycle: -75002,
  implementationId: -75003,
  bootSeed: { key: -75004, min: 32, required: true },
  certification: { key: -75005, form: /^[0-9]{13}(-[0-9]{5})?$/ },
  software: -75006,
  noSoftware: -75007,
  nonce: -75008,
  instanceId: -75009,
  verificationService: -75010,
}

/** draft-tschofenig-rats-psa-token-08 to -09: EAT's claims where there are some. */
const profile2: Profile = {
  name: 'http://arm.com/psa/2.0.0',
  nonce: 10,
  instanceId: 256,
  profile: 265,
  clientId: 2394,
  lifecycle: 2395,
  implementationId: 2396,
  bootSeed: { key: 2397, min: 8, required: false },
  certification: { key: 2398, form: ean13And5 },
  software: 2399,
  verificationService: 2400,
}

/** RFC 9783 §4 and §5.2: the boot seed is EAT's. */
const profileTfm: Profile = {
  ...profile2,
  name: 'tag:psacertified.org,2023:psa#tfm',
  bootSeed: { key: 268, min: 8, required: false },
}

export interface PsaToken {
  readonly message: CoseSign1
  readonly profile: string
  /** 32, 48 or 64 bytes that the caller handed in. */
  readonly nonce: Uint8Array
  /** 33 bytes, the first one 1: which device. */
  readonly instanceId: Uint8Array
  /** 32 bytes: which design of device. */
  readonly implementationId: Uint8Array
  /** Who asked for the token: above 0 a partition of the secure world, else someone outside of it. */
  readonly clientId: number
  readonly lifecycle: ArmLifecycle
  readonly bootSeed: Uint8Array | undefined
  /** EAN-13 and five digits of PSA Certified. */
  readonly certification: string | undefined
  /** Empty where the token says that nothing was measured (first profile). */
  readonly software: readonly ArmSoftware[]
  readonly verificationService: string | undefined
}

/**
 * Reads a PSA attestation token, a COSE_Sign1 with or without its tag, whole and nothing after it; at most 8 KiB. Claims
 * that its profile doesn't name are passed over. Throws FormatError; ERR_EVIDENCE_UNSUPPORTED for a COSE_Mac0 and for
 * profiles that are not read here. Results share memory with `bytes`.
 */
export function parsePsaToken(bytes: Uint8Array): PsaToken {
  const field = 'token'
  const message = parseCoseSign1(bytes, field, { bytesMax: psaTokenBytesMax })
  const options = { bytesMax: psaTokenBytesMax, itemsMax: 1024, depthMax: 4 }
  const claims = cborMap(decodeCbor(message.payload, field, options), field)
  const profile = profileOf(claims, field)
  const optionalText = (key: number, name: string): string | undefined =>
    claims.has(key) ? cborText(claims.get(key), `${field}.${name}`, { min: 1, max: 512 }) : undefined
  const certification = optionalText(profile.certification.key, 'certification')
  if (certification !== undefined && !profile.certification.form.test(certification)) {
    throw new FormatError(`${field}.certification`, 'is not of the form of PSA Certified (EAN-13 and five digits)')
  }
  return {
    message,
    profile: profile.name,
    nonce: hashOf(claims.get(profile.nonce), `${field}.nonce`),
    instanceId: instanceIdOf(claims.get(profile.instanceId), `${field}.instanceId`),
    implementationId: cborBytes(claims.get(profile.implementationId), `${field}.implementationId`, {
      min: 32,
      max: 32,
    }),
    clientId: cborInteger(claims.get(profile.clientId), `${field}.clientId`, { min: -(2 ** 31), max: 2 ** 31 - 1 }),
    lifecycle: lifecycleOf(claims.get(profile.lifecycle), `${field}.lifecycle`),
    bootSeed: bootSeedOf(claims, profile, `${field}.bootSeed`),
    certification,
    software: softwareOrNone(claims, profile, `${field}.software`),
    verificationService: optionalText(profile.verificationService, 'verificationService'),
  }
}

type ClaimMap = ReadonlyMap<CborKey, CborItem>

function profileOf(claims: ClaimMap, field: string): Profile {
  if (!claims.has(profile2.profile)) {
    const own = claims.get(profile1.profile)
    if (own !== undefined && cborText(own, `${field}.profile`) !== profile1.name) throw profileRefused(own, field)
    return profile1
  }
  const name = cborText(claims.get(profile2.profile), `${field}.profile`)
  const found = [profile2, profileTfm].find((profile) => profile.name === name)
  if (found === undefined) throw profileRefused(claims.get(profile2.profile)!, field)
  return found
}

function profileRefused(item: CborItem, field: string): EvidenceError {
  const name = cborText(item, `${field}.profile`)
  const known = [profile1, profile2, profileTfm].map((profile) => profile.name).join(', ')
  return new EvidenceError(
    'ERR_EVIDENCE_UNSUPPORTED',
    `${field}: is of the profile ${JSON.stringify(name.slice(0, 80))}; read are ${known}`,
  )
}

function bootSeedOf(claims: ClaimMap, { bootSeed }: Profile, field: string): Uint8Array | undefined {
  if (!claims.has(bootSeed.key) && !bootSeed.required) return undefined
  return cborBytes(claims.get(bootSeed.key), field, { min: bootSeed.min, max: 32 })
}

function softwareOrNone(claims: ClaimMap, { software, noSoftware }: Profile, field: string): ArmSoftware[] {
  if (noSoftware === undefined || !claims.has(noSoftware)) return softwareOf(claims.get(software), field)
  cborInteger(claims.get(noSoftware), `${field} (none)`, { min: 1, max: 1 })
  if (claims.has(software)) throw new FormatError(field, 'are listed, and said not to be measured')
  return []
}
