import assert from 'node:assert/strict'
import { createPublicKey, generateKeyPairSync, sign } from 'node:crypto'
import { test } from 'node:test'
import { decodeBase64url, decodeUtf8, encodeBase64url, encodeUtf8 } from '@cella/bytes'
import { readSamples, type Sample } from '../test/samples.ts'
import { type EvidenceEntry, verifyEvidence } from './index.ts'

// The known ways to pass off a token, once for each service whose tokens are evidence, through the one entry that callers
// have. Each starts from a token that is genuine.

interface Token {
  readonly sample: Sample
  readonly text: string
  /** The evidence with another token in the same place. */
  readonly with: (text: string) => EvidenceEntry
}

/** MAA's entry has text, EAR's bytes, NRAS's a bundle of the token with those of its devices. */
function tokenOf(name: string): Token {
  const sample = readSamples().find((one) => one.name === name)!
  const entry = sample.evidence.entries[0] as { readonly token?: string | Uint8Array; readonly bundle?: string }
  const having = (part: object): EvidenceEntry => ({ ...entry, ...part }) as unknown as EvidenceEntry
  if (entry.bundle !== undefined) {
    const [[kind, text], devices] = JSON.parse(entry.bundle) as [[string, string], object]
    return { sample, text, with: (other) => having({ bundle: JSON.stringify([[kind, other], devices]) }) }
  }
  if (typeof entry.token === 'string') return { sample, text: entry.token, with: (token) => having({ token }) }
  const text = decodeUtf8(entry.token!, 'token')
  return { sample, text, with: (other) => having({ token: encodeUtf8(other) }) }
}

const stranger = generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey
const strangerRsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey

type Header = { readonly [name: string]: unknown }

/** The token with another header, its signature as it was. */
function reheaded(text: string, change: (header: Header) => Header): string {
  const [head, ...rest] = text.split('.') as [string, string, string]
  const header = JSON.parse(decodeUtf8(decodeBase64url(head, 'header'), 'header')) as Header
  return [encodeBase64url(encodeUtf8(JSON.stringify(change(header)))), ...rest].join('.')
}

/** Signed by a stranger, who brings the key along. */
function resigned(text: string, bring: (jwk: object) => Header): string {
  const isRsa = JSON.parse(decodeUtf8(decodeBase64url(text.split('.')[0]!, 'header'), 'header')).alg === 'RS256'
  const key = isRsa ? strangerRsa : stranger
  const jwk = createPublicKey(key).export({ format: 'jwk' })
  const [head, payload] = reheaded(text, (header) => ({ ...header, ...bring(jwk) })).split('.')
  const bytes = encodeUtf8(`${head}.${payload}`)
  const signature = isRsa ? sign('sha256', bytes, key) : sign('sha384', bytes, { key, dsaEncoding: 'ieee-p1363' })
  return `${head}.${payload}.${signature.toString('base64url')}`
}

const attacks: readonly (readonly [string, string, (text: string) => string])[] = [
  [
    'alg none and no signature',
    'ERR_EVIDENCE_UNSIGNED',
    (text) =>
      `${reheaded(text, (header) => ({ ...header, alg: 'none' }))
        .split('.')
        .slice(0, 2)
        .join('.')}.`,
  ],
  [
    'alg NoNe and a signature',
    'ERR_EVIDENCE_UNSIGNED',
    (text) => reheaded(text, (header) => ({ ...header, alg: 'NoNe' })),
  ],
  [
    'a MAC by its issuer’s public key',
    'ERR_EVIDENCE_SIGNATURE',
    (text) => reheaded(text, (header) => ({ ...header, alg: 'HS256' })),
  ],
  [
    'jku elsewhere',
    'ERR_EVIDENCE_ISSUER_UNKNOWN',
    (text) => resigned(text, () => ({ jku: 'https://keys.stranger.example/certs' })),
  ],
  ['a key of its own in jwk', 'ERR_EVIDENCE_SIGNATURE', (text) => resigned(text, (jwk) => ({ jwk, kid: undefined }))],
  ['another key under its issuer’s kid', 'ERR_EVIDENCE_SIGNATURE', (text) => resigned(text, () => ({}))],
  ['a byte after its end', 'ERR_EVIDENCE_MALFORMED', (text) => `${text}.`],
]

for (const name of ['maa/1', 'nras/1', 'ear/1 as JWT']) {
  const { sample, text, with: replaced } = tokenOf(name)
  const { roots, issuers, now } = sample
  const verify = (other: string, at = now) =>
    verifyEvidence({ entries: [replaced(other)] }, { roots, issuers, now: at })

  test(`${name}, as it came: genuine`, async () => {
    await verify(text)
  })
  for (const [attack, code, forge] of attacks) {
    test(`${name}, ${attack}: ${code}`, () => assert.rejects(verify(forge(text)), { name: 'EvidenceError', code }))
  }
  test(`${name}, expired: ERR_EVIDENCE_EXPIRED`, () =>
    assert.rejects(verify(text, now + 10_000), { code: 'ERR_EVIDENCE_EXPIRED' }))
  test(`${name}, of the future: ERR_EVIDENCE_NOT_YET_VALID`, () =>
    assert.rejects(verify(text, now - 10_000), { code: 'ERR_EVIDENCE_NOT_YET_VALID' }))
  test(`${name}, of an issuer whom nobody trusts: ERR_EVIDENCE_ISSUER_UNKNOWN`, () =>
    assert.rejects(verifyEvidence(sample.evidence, { roots, issuers: [], now }), {
      code: 'ERR_EVIDENCE_ISSUER_UNKNOWN',
    }))
}
