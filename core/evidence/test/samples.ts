import { readFileSync } from 'node:fs'
import { encodeUtf8, type Json } from '@cella/bytes'
import type { Evidence } from '../src/evidence.ts'
import type { TrustedIssuer, TrustedRoot } from '../src/roots.ts'
import { parseEvidenceJson } from '../src/verify.ts'

/** Valid evidence with what a verifier needs to find it genuine. */
export interface Sample {
  /** The format, and what kind of it: `azure-vm/1 on TDX`. */
  readonly name: string
  readonly evidence: Evidence
  readonly roots: readonly TrustedRoot[]
  readonly issuers: readonly TrustedIssuer[]
  /** Unix seconds. */
  readonly now: number
}

/** A line of testdata/samples.jsonl, in which `jwks` is text. */
export interface SampleJson {
  readonly name: string
  readonly evidence: Json
  readonly roots: readonly TrustedRoot[]
  readonly issuers: readonly (Omit<TrustedIssuer, 'jwks'> & { readonly jwks: string })[]
  readonly now: number
}

export const samplesFile: URL = new URL('../testdata/samples.jsonl', import.meta.url)

/**
 * Evidence of every format by vendors of our own, with keys that nobody has any more. It is kept, so that a fuzz case has
 * the same bytes tomorrow; `write-samples.ts` makes it anew.
 */
export function readSamples(): Sample[] {
  const samples = readFileSync(samplesFile, 'utf8').trimEnd().split('\n')
  return samples
    .map((line): SampleJson => JSON.parse(line))
    .map(({ evidence, issuers, ...rest }) => ({
      ...rest,
      evidence: parseEvidenceJson(evidence),
      issuers: issuers.map((issuer) => ({ ...issuer, jwks: encodeUtf8(issuer.jwks) })),
    }))
}

export const rimFile: URL = new URL('../testdata/rim.jsonl', import.meta.url)

/** A reference integrity manifest of NVIDIA's kind, and the root of its signer. */
export function readRimSample(): { xml: Uint8Array; root: TrustedRoot } {
  const { xml, root }: { xml: string; root: TrustedRoot } = JSON.parse(readFileSync(rimFile, 'utf8'))
  return { xml: encodeUtf8(xml), root }
}

export const raTlsFile: URL = new URL('../testdata/ra-tls.json', import.meta.url)

/** Certificates of enclaves' own keys with a quote inside, DER, one of each form. */
export function readRaTlsSamples(): Uint8Array[] {
  const list: string[] = JSON.parse(readFileSync(raTlsFile, 'utf8'))
  return list.map((der) => Uint8Array.fromBase64(der))
}

/**
 * An attestation result that Confidential Containers' Trustee issued for an Arm CCA realm (veraison/ear, Apache-2.0), the
 * key that signed it, and a time at which it is in force.
 */
export function readRealEar(): { token: string; jwks: Uint8Array; now: number } {
  const file = new URL('../testdata/ear-trustee.json', import.meta.url)
  const { token, jwks }: { token: string; jwks: Json } = JSON.parse(readFileSync(file, 'utf8'))
  return { token, jwks: encodeUtf8(JSON.stringify(jwks)), now: 1_752_059_140 }
}
