import { decodeBase64url, encodeHex, encodeUtf8, FormatError, type Json } from '@cella/bytes'
import { type CborItem, type CborKey, cborArray, cborBytes, cborInteger, cborMap, cborText } from '@cella/cbor'
import { type JsonObject, jsonObject, optionalText, requiredText } from '../jwt/json.ts'
import type { TrustClaim, TrustStatus } from '../trust-vector.ts'
import {
  type EarProfile,
  type EarSpelling,
  earKey,
  profileNamed,
  spellings,
  tierNumber,
  tiers,
  trustClaims,
} from './spelling.ts'

const submodCountMax = 32
const policyIdCountMax = 16
const textMax = 256

/** What one attester was found to be worth (EAR-appraisal, draft-ietf-rats-ear §3). */
interface EarSubmod {
  readonly name: string
  readonly status: TrustStatus
  /** Claims that are left out make no statement. −128..127. */
  readonly vector: { readonly [Claim in TrustClaim]?: number }
  readonly policyIds: readonly string[]
  /** The nonce of this attester alone, as `Ear.nonce`. */
  readonly nonce: string | null
  /** DER SubjectPublicKeyInfo, hexadecimal: a key that the verifier found bound to the attester. */
  readonly attestedKey: string | null
}

/** An attestation result as its token writes it. Nothing about it has been verified. */
export interface Ear {
  readonly profile: EarProfile
  readonly spelling: EarSpelling['name']
  /** Unix seconds. */
  readonly issuedAt: number
  readonly verifier: { readonly developer: string; readonly build: string }
  readonly submods: readonly EarSubmod[]
  /** Hexadecimal: the bytes of a CBOR nonce, the UTF-8 of a JSON one. */
  readonly nonce: string | null
}

/**
 * Reads the claims of an EAR JWT. The profile decides the spelling, and a name of the other spelling beside it is
 * refused. A status may be no better than its vector, nor the whole's than its submodules'. Throws FormatError.
 */
export function readEarJson(claims: JsonObject): Ear {
  const profile = profileOf(requiredText(claims, 'eat_profile', 'EAR'))
  const spelling = spellings[profile]
  refuseOthers(claims, spelling, 'EAR')
  const id = jsonObject(claims[spelling.verifierId], `EAR ${spelling.verifierId}`)
  const raw = optionalText(claims, spelling.rawEvidence, 'EAR')
  if (raw !== undefined) decodeBase64url(raw, `EAR ${spelling.rawEvidence}`)
  const whole = optionalText(claims, spelling.status, 'EAR')
  const submods = Object.entries(jsonObject(claims.submods, 'EAR submods')).map(([name, value]) =>
    readSubmodJson(name, jsonObject(value, 'EAR submods'), spelling),
  )
  checkSubmods(submods, whole === undefined ? undefined : statusNamed(whole, 'EAR'))
  return {
    profile,
    spelling: spelling.name,
    issuedAt: seconds(claims.iat),
    verifier: {
      developer: short(requiredText(id, 'developer', 'EAR verifier'), 'EAR verifier.developer'),
      build: short(requiredText(id, 'build', 'EAR verifier'), 'EAR verifier.build'),
    },
    submods,
    nonce: nonceOf(claims, 'EAR'),
  }
}

function readSubmodJson(name: string, submod: JsonObject, spelling: EarSpelling): EarSubmod {
  const field = `EAR submodule ${short(name, 'EAR submodule')}`
  refuseOthers(submod, spelling, field)
  const vector: { [Claim in TrustClaim]?: number } = {}
  if (Object.hasOwn(submod, spelling.vector)) {
    for (const [claim, value] of Object.entries(jsonObject(submod[spelling.vector], field))) {
      const known = trustClaims.find((one) => one === claim)
      if (known === undefined) throw new FormatError(field, 'has a trust claim that is not known')
      vector[known] = trustNumber(value, field)
    }
    if (Object.keys(vector).length === 0) throw new FormatError(field, 'has an empty trust vector')
  }
  const attestation = submod[spelling.keyAttestation]
  const key =
    attestation === undefined
      ? null
      : encodeHex(decodeBase64url(requiredText(jsonObject(attestation, field), 'akpub', field), `${field} akpub`))
  return checkStatus({
    name,
    status: statusNamed(requiredText(submod, spelling.status, field), field),
    vector,
    policyIds: policyIdsOf(submod[spelling.policyIds], spelling.onePolicyId, field),
    nonce: nonceOf(submod, field),
    attestedKey: key,
  })
}

function policyIdsOf(value: Json | undefined, one: boolean, field: string): readonly string[] {
  if (value === undefined) return []
  const list = one ? [value] : value
  if (!Array.isArray(list) || list.length === 0 || list.length > policyIdCountMax) {
    throw new FormatError(field, `has appraisal policies that are not a list of 1 to ${policyIdCountMax}`)
  }
  return list.map((id: Json) => {
    if (typeof id !== 'string') throw new FormatError(field, 'has an appraisal policy that is not text')
    return short(id, field)
  })
}

// Names of both spellings beside each other would be two statements, of which a reader sees one.
function refuseOthers(claims: JsonObject, spelling: EarSpelling, field: string): void {
  const foreign = spelling.name === 'dotted' ? 'ear_' : 'ear.'
  if (Object.keys(claims).some((name) => name.startsWith(foreign))) {
    throw new FormatError(field, `has names that start with ${foreign} beside its profile’s`)
  }
}

/** Reads the claims of an EAR CWT. Profile: that of the draft. Throws FormatError. */
export function readEarCbor(item: CborItem): Ear {
  const claims = cborMap(item, 'EAR')
  const profile = profileOf(cborText(claims.get(earKey.profile), 'EAR profile', { max: textMax }))
  const id = cborMap(claims.get(earKey.verifierId), 'EAR verifier')
  const submods = [...cborMap(claims.get(earKey.submods), 'EAR submodules')].map(([name, value]) => {
    if (typeof name !== 'string') throw new FormatError('EAR submodules', 'has a name that is not text')
    return readSubmodCbor(name, cborMap(value, 'EAR submodule'))
  })
  const whole = claims.get(earKey.status)
  checkSubmods(submods, whole === undefined ? undefined : statusNumbered(whole, 'EAR'))
  return {
    profile,
    spelling: 'cbor',
    issuedAt: cborInteger(claims.get(earKey.issuedAt), 'EAR iat'),
    verifier: {
      developer: cborText(id.get(0), 'EAR verifier.developer', { max: textMax }),
      build: cborText(id.get(1), 'EAR verifier.build', { max: textMax }),
    },
    submods,
    nonce: cborNonce(claims.get(earKey.nonce), 'EAR nonce'),
  }
}

function readSubmodCbor(name: string, submod: ReadonlyMap<CborKey, CborItem>): EarSubmod {
  const field = `EAR submodule ${short(name, 'EAR submodule')}`
  const vector: { [Claim in TrustClaim]?: number } = {}
  const given = submod.get(earKey.vector)
  if (given !== undefined) {
    for (const [key, value] of cborMap(given, field)) {
      const claim = typeof key === 'number' ? trustClaims[key] : undefined
      if (claim === undefined) throw new FormatError(field, 'has a trust claim that is not known')
      vector[claim] = cborInteger(value, `${field} ${claim}`, { min: -128, max: 127 })
    }
    if (Object.keys(vector).length === 0) throw new FormatError(field, 'has an empty trust vector')
  }
  const ids = submod.get(earKey.policyIds)
  const attestation = submod.get(earKey.keyAttestation)
  return checkStatus({
    name,
    status: statusNumbered(submod.get(earKey.status), field),
    vector,
    policyIds:
      ids === undefined
        ? []
        : cborArray(ids, field, { min: 1, max: policyIdCountMax }).map((id) => cborText(id, field, { max: textMax })),
    nonce: cborNonce(submod.get(earKey.nonce), field),
    attestedKey:
      attestation === undefined
        ? null
        : encodeHex(cborBytes(cborMap(attestation, field).get('akpub'), `${field} akpub`)),
  })
}

function cborNonce(item: CborItem | undefined, field: string): string | null {
  return item === undefined ? null : encodeHex(cborBytes(item, field, { min: 8, max: 64 }))
}

function statusNumbered(item: CborItem | undefined, field: string): TrustStatus {
  const status = tiers.get(cborInteger(item, `${field} status`))
  if (status === undefined) throw new FormatError(`${field} status`, 'is not one of 0, 2, 32, 96')
  return status
}

function statusNamed(text: string, field: string): TrustStatus {
  if (!Object.hasOwn(tierNumber, text)) throw new FormatError(`${field} status`, 'is not one that is known')
  return text as TrustStatus
}

function profileOf(text: string): EarProfile {
  const profile = profileNamed(text)
  if (profile === undefined) throw new FormatError('EAR profile', 'is not one that is read here')
  return profile
}

/** The tier of a claim; negative values mirror the positive ones (AR4SI §2.3.2). */
function tierOf(value: number): number {
  const size = Math.abs(value)
  return size >= 96 ? 96 : size >= 32 ? 32 : size >= 2 ? 2 : 0
}

function checkStatus(submod: EarSubmod): EarSubmod {
  const worst = Math.max(0, ...Object.values(submod.vector).map(tierOf))
  // `none` states nothing, so nothing can be better than it states.
  if (submod.status !== 'none' && tierNumber[submod.status] < worst) {
    throw new FormatError(`EAR submodule ${submod.name}`, `is ${submod.status}, its worst claim is not`)
  }
  return submod
}

function checkSubmods(submods: readonly EarSubmod[], whole: TrustStatus | undefined): void {
  if (submods.length === 0 || submods.length > submodCountMax) {
    throw new FormatError('EAR submodules', `are ${submods.length}, expected 1 to ${submodCountMax}`)
  }
  const worst = Math.max(...submods.map(({ status }) => tierNumber[status]))
  if (whole !== undefined && whole !== 'none' && tierNumber[whole] < worst) {
    throw new FormatError('EAR', `is ${whole}, its worst submodule is not`)
  }
}

function trustNumber(value: Json, field: string): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < -128 || value > 127) {
    throw new FormatError(field, 'has a trust claim that is not a number from -128 to 127')
  }
  return value
}

function seconds(value: Json | undefined): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) {
    throw new FormatError('EAR iat', 'is not a whole number of seconds')
  }
  return value
}

/** RFC 9711 §4.1: 8 to 88 characters. */
function nonceOf(claims: JsonObject, field: string): string | null {
  const nonce = optionalText(claims, 'eat_nonce', field)
  if (nonce === undefined) return null
  if (nonce.length < 8 || nonce.length > 88) throw new FormatError(`${field} eat_nonce`, 'is not of 8 to 88 characters')
  return encodeHex(encodeUtf8(nonce))
}

function short(text: string, field: string): string {
  if (text.length === 0 || text.length > textMax)
    throw new FormatError(field, `is not a text of 1 to ${textMax} characters`)
  return text
}
