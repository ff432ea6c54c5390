import { createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { digestOf } from '@cella/primitives'
import { CheckLog } from '../src/checks.ts'
import { Endorsements } from '../src/endorsements.ts'
import type { VerifyContext } from '../src/family.ts'
import type { NitroEntry } from '../src/nitro/entry.ts'
import {
  issueNitroCa,
  issueNitroDocument,
  issueNitroLeaf,
  type NitroCertificate,
  type NitroDocument,
} from '../src/nitro/issue.ts'
import type { TrustedRoot } from '../src/roots.ts'

// A Nitro attestation PKI of our own in the shape of AWS's: root, region, zone, instance, enclave.

const newKey = (): KeyObject => generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey
export const nitroKeys = {
  root: newKey(),
  region: newKey(),
  zone: newKey(),
  instance: newKey(),
  leaf: newKey(),
  stranger: newKey(),
}

export const signWith =
  (key: KeyObject) =>
  (bytes: Uint8Array): Uint8Array =>
    new Uint8Array(sign('sha384', bytes, { key, dsaEncoding: 'ieee-p1363' }))
export const spkiOf = (key: KeyObject): Uint8Array =>
  new Uint8Array(createPublicKey(key).export({ format: 'der', type: 'spki' }))

export const now = 1_790_000_000
const day = 86_400
export const moduleId = 'i-0123456789abcdef0-enc0198aabbccddeeff'
export const nitroRoot: TrustedRoot = { tee: 'nitro', spki: digestOf(spkiOf(nitroKeys.root)), simulated: false }

/** What differs from a sound enclave. */
export interface NitroBuild {
  readonly document?: Partial<NitroDocument>
  readonly root?: Partial<NitroCertificate>
  readonly region?: Partial<NitroCertificate & { pathLength: number }>
  readonly zone?: Partial<NitroCertificate>
  readonly instance?: Partial<NitroCertificate & { pathLength: number }>
  readonly leaf?: Partial<NitroCertificate>
  /** A CA's certificate in place of the leaf. */
  readonly leafIsCa?: boolean
  /** Who signs the document, instead of the key in the certificate. */
  readonly documentKey?: KeyObject
}

const serial = Uint8Array.of(0xf9, 1, 2, 3)

/** A debug-off enclave with PCR0 to PCR4 and PCR8, `user_data` of 64 bytes and a nonce. */
export async function issueNitro(build: NitroBuild = {}): Promise<NitroEntry> {
  const times = { serial, notBefore: now - day, notAfter: now + day }
  const root = 'aws.nitro-enclaves'
  const region = '0e00f34cc7270dcf.eu-west-1.aws.nitro-enclaves'
  const zone = 'd2ac11fabedeb2fe.zonal.eu-west-1.aws.nitro-enclaves'
  const instance = 'i-0123456789abcdef0.eu-west-1.aws.nitro-enclaves'
  const certificate = (issuer: string, issuerKey: KeyObject, subject: string, key: KeyObject): NitroCertificate => ({
    ...times,
    issuer,
    subject,
    spki: spkiOf(key),
    sign: signWith(issuerKey),
  })
  const { leaf: leafKey, ...keys } = nitroKeys
  const cabundle = await Promise.all([
    issueNitroCa({ ...certificate(root, keys.root, root, keys.root), pathLength: undefined, ...build.root }),
    issueNitroCa({ ...certificate(root, keys.root, region, keys.region), pathLength: 2, ...build.region }),
    issueNitroCa({ ...certificate(region, keys.region, zone, keys.zone), pathLength: 1, ...build.zone }),
    issueNitroCa({ ...certificate(zone, keys.zone, instance, keys.instance), pathLength: 0, ...build.instance }),
  ])
  const leafOptions = {
    ...certificate(instance, keys.instance, `${moduleId}.eu-west-1.aws`, leafKey),
    notBefore: now - 60,
    notAfter: now + 10_740,
    ...build.leaf,
  }
  const leaf = await (build.leafIsCa
    ? issueNitroCa({ ...leafOptions, pathLength: undefined })
    : issueNitroLeaf(leafOptions))
  const document = await issueNitroDocument(
    {
      moduleId,
      timestamp: (now - 30) * 1000,
      pcrs: new Map([0, 1, 2, 3, 4, 8].map((index) => [index, new Uint8Array(48).fill(index + 1)])),
      certificate: leaf,
      cabundle,
      publicKey: Uint8Array.of(1, 2, 3),
      userData: new Uint8Array(64).fill(0xda),
      nonce: new Uint8Array(32).fill(0x0e),
      ...build.document,
    },
    signWith(build.documentKey ?? leafKey),
  )
  return { role: 'cpu', format: 'nitro/1', document }
}

export function nitroContext(options: Partial<VerifyContext> = {}): VerifyContext {
  return {
    roots: [nitroRoot],
    issuers: [],
    endorsements: Endorsements.none,
    now,
    cache: undefined,
    checks: new CheckLog(),
    ...options,
  }
}
