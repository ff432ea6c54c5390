import { decodeBase64url, type Json } from '@cella/bytes'
import type { Endorsement } from '../endorsements.ts'
import { EvidenceError, reading } from '../error.ts'
import { type Evidence, type EvidenceEntry, encodeEvidence } from '../evidence.ts'
import { isJsonObject } from '../jwt/json.ts'
import { type Cmw, type CmwRecord, cmwIndicator, parseCmw, parseCmwJson, startsLikeCborCmw } from './cmw.ts'

/** The media type of Cella's own wire form. */
export const evidenceMediaType = 'application/vnd.cella.evidence+json'

/** Evidence in a wrapper, for who takes evidence of any kind. */
export function cmwOfEvidence(evidence: Evidence): CmwRecord {
  return {
    kind: 'record',
    type: evidenceMediaType,
    value: encodeEvidence(evidence),
    indicator: cmwIndicator.evidence,
  }
}

/** The wrapper in these bytes, or in the claim `cmw` of a claims set, which need not be signed; `undefined` for others. */
export function recogniseCmw(bytes: Uint8Array, json: Json | undefined): Cmw | undefined {
  if (json !== undefined) {
    const claim = isJsonObject(json) && Object.hasOwn(json, 'cmw') ? json.cmw : undefined
    // A claims set of ratsd has the wrapper's bytes in base64url.
    if (typeof claim === 'string') return parseCmw(reading(() => decodeBase64url(claim, 'cmw')))
    if (claim !== undefined) return parseCmwJson(claim)
    return looksLikeJson(json, 0) ? parseCmw(bytes) : undefined
  }
  if (!startsLikeCborCmw(bytes)) return undefined
  try {
    return parseCmw(bytes)
  } catch (error) {
    // Other forms begin so as well.
    if (error instanceof EvidenceError && bytes[0] !== 0xda) return undefined
    throw error
  }
}

// Deeper than the reader reads is not looked at, so that no input can fill the stack.
function looksLikeJson(json: Json, depth: number): boolean {
  if (Array.isArray(json)) return json.length >= 2 && typeof json[0] === 'string' && typeof json[1] === 'string'
  if (!isJsonObject(json)) return false
  if (Object.hasOwn(json, '__cmwc_t')) return true
  const items = Object.values(json)
  return depth < 6 && items.length > 0 && items.every((item) => looksLikeJson(item, depth + 1))
}

/** Evidence of all messages in `cmw`, each read by `read`. What runs the code comes first, wherever it stood. */
export function evidenceOfCmw(cmw: Cmw, read: (bytes: Uint8Array) => Evidence): Evidence {
  const entries: EvidenceEntry[] = []
  const endorsements: Endorsement[] = []
  for (const { label, value } of messagesOf(cmw, '')) {
    try {
      const evidence = read(value)
      entries.push(...evidence.entries)
      endorsements.push(...(evidence.endorsements ?? []))
    } catch (error) {
      if (!(error instanceof EvidenceError)) throw error
      throw new EvidenceError(error.code, `${label}: ${error.message}`, { cause: error })
    }
  }
  // The order of a collection says nothing.
  const isDevice = ({ role }: EvidenceEntry): number => Number(role === 'gpu' || role === 'vtpm')
  entries.sort((a, b) => isDevice(a) - isDevice(b))
  return endorsements.length === 0 ? { entries } : { entries, endorsements }
}

interface Message {
  readonly label: string
  readonly value: Uint8Array
}

function messagesOf(cmw: Cmw, label: string): Message[] {
  if (cmw.kind === 'collection') {
    return [...cmw.items].flatMap(([name, item]) => messagesOf(item, label === '' ? `${name}` : `${label}/${name}`))
  }
  const { evidence, attestationResults } = cmwIndicator
  const indicator = cmw.kind === 'record' ? cmw.indicator : undefined
  if (indicator !== undefined && (indicator & (evidence | attestationResults)) === 0) {
    const problem = `${label || 'the wrapper'}: holds no evidence (indicator ${indicator}); give that apart, as endorsements or references`
    throw new EvidenceError('ERR_EVIDENCE_UNSUPPORTED', problem)
  }
  return [{ label: label === '' ? `${cmw.type}` : `${label} (${cmw.type})`, value: cmw.value }]
}
