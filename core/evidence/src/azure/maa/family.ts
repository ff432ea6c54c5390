import { decodeBase64url, decodeUtf8, FormatError, type Json } from '@cella/bytes'
import { reading } from '../../error.ts'
import type { Family } from '../../family.ts'
import { isJsonObject } from '../../jwt/json.ts'
import { jwtCharactersMax, parseJwt } from '../../jwt/jwt.ts'
import type { MaaEvidenceEntry } from './entry.ts'
import { appraiseMaa, checkMaaPolicy, type MaaPolicy } from './policy.ts'
import { type VerifiedMaa, verifyMaa } from './verify.ts'

/** Tokens of Microsoft Azure Attestation: another verifier's word, taken from issuers that the relying party names. */
export const maaFamily: Family<'maa/1', MaaEvidenceEntry, VerifiedMaa, MaaPolicy> = {
  format: 'maa/1',
  tee: 'maa',
  fields: { token: 'text' },
  verify: verifyMaa,
  checkPolicy: checkMaaPolicy,
  appraise: appraiseMaa,
}

/** Evidence of a token as text; white space at its ends is cut off. Throws EvidenceError; nothing is verified. */
export function maaEvidenceOf(bytes: Uint8Array): MaaEvidenceEntry {
  return reading(() => {
    if (bytes.length > jwtCharactersMax) throw new FormatError('token', `has ${bytes.length} bytes`)
    const token = decodeUtf8(bytes, 'token').trim()
    parseJwt(token)
    return { role: 'cpu', format: 'maa/1', token }
  })
}

/** For detection: whether a token looks like one of Azure Attestation. Cheap; nothing is verified. */
export function recogniseMaa(token: string): string | undefined {
  const payload = token.split('.', 3)[1]
  if (payload === undefined || token.length > jwtCharactersMax) return undefined
  try {
    const claims: Json = JSON.parse(decodeUtf8(decodeBase64url(payload, 'payload'), 'payload'))
    if (!isJsonObject(claims) || typeof claims['x-ms-attestation-type'] !== 'string') return undefined
    return 'a token of Microsoft Azure Attestation, another verifier’s word and not evidence of its own'
  } catch {
    return undefined
  }
}
