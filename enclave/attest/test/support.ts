import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after } from 'node:test'
import { type Digest, encodeBase64url, type Json } from '@cella/bytes'
import { type AttestationPolicy, type Payload, type SignedDocument, signDocument } from '@cella/documents'
import {
  type AppraisalPolicy,
  appraisalPolicyJson,
  bindingDigest,
  evidenceJson,
  rehearsalPolicy,
  type TrustedRoot,
} from '@cella/evidence'
import { digestOf, ed25519PublicKey, keyIdOf, randomBytes } from '@cella/primitives'
import { createSimulatedPlatform, openTee, type TeeDriver } from '@cella/tee'
import type { AttestConfiguration } from '../src/configuration.ts'

// A simulated machine, organisations with root keys, and policies that they sign.

/** Unix seconds. */
export const now: number = Math.floor(Date.now() / 1000)

/** A folder that is gone after the tests of the file. */
export async function temporary(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'cella-attest-'))
  after(() => rm(folder, { recursive: true, force: true }))
  return folder
}

export interface Machine {
  readonly folder: string
  readonly root: TrustedRoot
  readonly tee: TeeDriver
  /** Evidence over this binding, as it travels. */
  evidence(binding: { readonly [name: string]: Json }): Promise<{ readonly [name: string]: Json }>
}

const measured = { nodeDigest: digestOf(Uint8Array.of(1)), bundleDigest: digestOf(Uint8Array.of(2)), commandLine: [] }

export async function simulatedMachine(): Promise<Machine> {
  const folder = await temporary()
  const { root } = await createSimulatedPlatform(folder)
  const tee = await openTee({ kind: 'simulated', folder, measured })
  return {
    folder,
    root,
    tee,
    evidence: async (binding) =>
      evidenceJson(await tee.getEvidence(bindingDigest(binding))) as { readonly [name: string]: Json },
  }
}

/** Accepts the machine as it is. */
export function policyFor({ tee }: Machine): AppraisalPolicy {
  return { ...rehearsalPolicy, measurements: [tee.describe().measurement!] }
}

export interface Party {
  readonly id: Digest
  readonly envelopes: readonly string[]
  /** Seeds of the root keys of now. */
  readonly roots: readonly Uint8Array[]
  /** A signed policy; `change` as the test wants it. */
  policy(change: PolicyChange, by?: readonly Uint8Array[]): Promise<SignedDocument<'cella/attestation-policy'>>
  /** The same organisation after its root keys were replaced. */
  rotated(roots?: readonly Uint8Array[]): Promise<Party>
}

export type PolicyChange = Partial<Omit<AttestationPolicy, 'policy' | 'type' | 'version'>> & {
  readonly policy?: AppraisalPolicy | { readonly [name: string]: Json }
}

export async function party(name: string, options: { roots?: number; threshold?: number } = {}): Promise<Party> {
  const { roots: count = 1, threshold = 1 } = options
  const roots = Array.from({ length: count }, () => randomBytes(32))
  const founding = await signDocument<'cella/organisation'>(
    revision({ name, roots, threshold, by: roots.slice(0, threshold) }),
    roots,
  )
  return partyOf(founding.digest, [founding], roots)
}

function partyOf(
  id: Digest,
  revisions: readonly SignedDocument<'cella/organisation'>[],
  roots: readonly Uint8Array[],
): Party {
  const newest = revisions.at(-1)!
  const { threshold, name } = newest.payload
  return {
    id,
    envelopes: revisions.map(({ envelope }) => envelope),
    roots,
    policy: async ({ policy, ...change }, by = roots.slice(0, threshold)) => {
      const data = policy !== undefined && 'reportData' in policy ? policyData(policy) : (policy ?? {})
      const payload: Payload<'cella/attestation-policy'> = {
        type: 'cella/attestation-policy',
        version: 1,
        organisation: id,
        ...signersOf(by),
        name: 'production',
        revision: 1,
        notBefore: now - 1000,
        notAfter: now + 86_400,
        freshness: 'nonce',
        roots: 'vendors',
        issuers: [],
        ...change,
        policy: data as { readonly [name: string]: Json },
      }
      return signDocument<'cella/attestation-policy'>(payload, by)
    },
    rotated: async (given) => {
      const next = given ?? [randomBytes(32)]
      const by = roots.slice(0, threshold)
      const payload = {
        ...revision({ name, roots: next, threshold: 1, by }),
        organisation: id,
        revision: newest.payload.revision + 1,
        previous: newest.digest,
      }
      return partyOf(id, [...revisions, await signDocument<'cella/organisation'>(payload, by)], next)
    },
  }
}

function policyData(policy: object): object {
  try {
    return appraisalPolicyJson(policy as AppraisalPolicy)
  } catch {
    return policy
  }
}

function revision(options: {
  name: string
  roots: readonly Uint8Array[]
  threshold: number
  by: readonly Uint8Array[]
}): Payload<'cella/organisation'> {
  return {
    type: 'cella/organisation',
    version: 1,
    organisation: null,
    ...signersOf(options.by),
    revision: 1,
    previous: null,
    name: options.name,
    rootKeys: options.roots.map((seed) => encodeBase64url(ed25519PublicKey(seed))),
    threshold: options.threshold,
    recoveryKeys: [],
    recoveryThreshold: 0,
  }
}

function signersOf(seeds: readonly Uint8Array[]): Pick<AttestationPolicy, 'signer' | 'cosigners'> {
  const [signer, ...cosigners] = seeds.map((seed) => keyIdOf(ed25519PublicKey(seed)))
  return { signer: signer!, cosigners }
}

/** A service on a free port that takes everybody's policies. */
export function configurationFor(folder: string, change: Partial<AttestConfiguration> = {}): AttestConfiguration {
  return {
    listen: { host: '127.0.0.1', port: 0 },
    issuer: null,
    folder,
    collateral: null,
    organisations: 'any',
    policies: [],
    tokenSeconds: 300,
    keyDays: 90,
    rotate: false,
    limits: { addressPerSecond: 100_000, organisationPerSecond: 100_000 },
    log: 'silent',
    tee: null,
    ...change,
  }
}
