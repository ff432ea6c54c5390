import { createHash, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { type CborKey, CborTag, type CborValue, encodeCbor } from '@cella/cbor'
import { digestOf } from '@cella/primitives'
import { CheckLog } from '../src/checks.ts'
import { issueCoseSign1 } from '../src/cose/issue.ts'
import { Endorsements } from '../src/endorsements.ts'
import type { VerifyContext } from '../src/family.ts'
import type { OtherRoot } from '../src/roots.ts'

// Devices of our own: a CCA platform with a P-384 key, a realm with another, and a PSA device with a P-256 key.

export type Claim = readonly [CborKey, CborValue]

export const armKeys = {
  cpak: generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey,
  realm: generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey,
  iak: generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey,
  stranger: generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey,
}

export const spkiOf = (key: KeyObject): Uint8Array =>
  new Uint8Array(createPublicKey(key).export({ format: 'der', type: 'spki' }))
export const pointOf = (key: KeyObject): Uint8Array => spkiOf(key).slice(key === armKeys.iak ? -65 : -97)
const sha256 = (bytes: Uint8Array): Uint8Array => new Uint8Array(createHash('sha256').update(bytes).digest())

const algorithms: Readonly<Record<string, readonly [number, string]>> = {
  prime256v1: [-7, 'sha256'],
  secp384r1: [-35, 'sha384'],
}

export function signed(claims: readonly Claim[], key: KeyObject, tagged = true): Promise<Uint8Array> {
  const [algorithm, hash] = algorithms[key.asymmetricKeyDetails!.namedCurve!]!
  return issueCoseSign1({
    algorithm,
    tagged,
    payload: encodeCbor(new Map(claims)),
    sign: (bytes) => new Uint8Array(sign(hash, bytes, { key, dsaEncoding: 'ieee-p1363' })),
  })
}

/** `claims` with some replaced, added or (`undefined`) left out. */
export function withClaims(
  claims: readonly Claim[],
  changes: readonly (readonly [CborKey, CborValue | undefined])[],
): Claim[] {
  const changed = new Map<CborKey, CborValue | undefined>([...claims, ...changes])
  return [...changed].filter((entry): entry is [CborKey, CborValue] => entry[1] !== undefined)
}

const filled = (length: number, value: number): Uint8Array => new Uint8Array(length).fill(value)

export const component = (type: string, value: number): ReadonlyMap<CborKey, CborValue> =>
  new Map<CborKey, CborValue>([
    [1, type],
    [2, filled(32, value)],
    [4, '1.2.3'],
    [5, filled(32, 0x51)],
    [6, 'sha-256'],
  ])

/** The realm's key as the current profile writes it: a COSE_Key. */
export function coseKeyOf(key: KeyObject): Uint8Array {
  const point = pointOf(key)
  const half = (point.length - 1) / 2
  return encodeCbor(
    new Map<CborKey, CborValue>([
      [1, 2],
      [-1, half === 32 ? 1 : 2],
      [-2, point.slice(1, 1 + half)],
      [-3, point.slice(1 + half)],
    ]),
  )
}

export const realmClaims: readonly Claim[] = [
  [265, 'tag:arm.com,2023:realm#1.0.0'],
  [10, filled(64, 0xc4)],
  [44235, filled(64, 0xbe)],
  [44236, 'sha-256'],
  [44237, coseKeyOf(armKeys.realm)],
  [44238, filled(32, 0x11)],
  [44239, [1, 2, 3, 4].map((value) => filled(32, value))],
  [44240, 'sha-256'],
]

export const platformClaims: readonly Claim[] = [
  [265, 'tag:arm.com,2023:cca_platform#1.0.0'],
  [10, sha256(coseKeyOf(armKeys.realm))],
  [256, Uint8Array.of(1, ...sha256(pointOf(armKeys.cpak)))],
  [2395, 0x3003],
  [2396, filled(32, 0x1d)],
  [2399, [component('RMM', 0xa1), component('AP_BL31', 0xa2)]],
  [2400, 'https://verifier.example'],
  [2401, filled(4, 0xcf)],
  [2402, 'sha-256'],
]

export interface CcaBuild {
  readonly platform?: readonly (readonly [CborKey, CborValue | undefined])[]
  readonly realm?: readonly (readonly [CborKey, CborValue | undefined])[]
  readonly platformKey?: KeyObject
  readonly realmKey?: KeyObject
  readonly tag?: number
}

export async function issueCca(build: CcaBuild = {}): Promise<Uint8Array> {
  const platform = await signed(withClaims(platformClaims, build.platform ?? []), build.platformKey ?? armKeys.cpak)
  const realm = await signed(withClaims(realmClaims, build.realm ?? []), build.realmKey ?? armKeys.realm)
  return encodeCbor(
    new CborTag(
      build.tag ?? 399,
      new Map([
        [44234, platform],
        [44241, realm],
      ]),
    ),
  )
}

/** Of RFC 9783. */
export const psaClaims: readonly Claim[] = [
  [10, filled(32, 0x0e)],
  [256, Uint8Array.of(1, ...sha256(pointOf(armKeys.iak)))],
  [265, 'tag:psacertified.org,2023:psa#tfm'],
  [268, filled(32, 0xb0)],
  [2394, 7],
  [2395, 0x3000],
  [2396, filled(32, 0x1d)],
  [2398, '1234567890123-12345'],
  [2399, [component('SPE', 0x5e), component('NSPE', 0x4e)]],
  [2400, 'https://verifier.example'],
]

/** The claims of `psaClaims` by the keys of PSA_IOT_PROFILE_1. */
export const psaClaims1: readonly Claim[] = [
  [-75000, 'PSA_IOT_PROFILE_1'],
  ...(
    [
      [-75001, 2394],
      [-75002, 2395],
      [-75003, 2396],
      [-75004, 268],
      [-75005, 2398],
      [-75006, 2399],
      [-75008, 10],
      [-75009, 256],
      [-75010, 2400],
    ] as const
  ).map(([key, from]): Claim => [key, new Map(psaClaims).get(from)!]),
]

export function rootOf(tee: 'cca' | 'psa', key: KeyObject, simulated = false): OtherRoot {
  return { tee, spki: digestOf(spkiOf(key)), simulated }
}

export function keysOf(...keys: readonly KeyObject[]): Endorsements {
  return new Endorsements(keys.map((key) => ({ kind: 'public-key', content: spkiOf(key) })))
}

export function armContext(options: Partial<VerifyContext> = {}): VerifyContext {
  return {
    roots: [rootOf('cca', armKeys.cpak), rootOf('psa', armKeys.iak)],
    issuers: [],
    endorsements: keysOf(armKeys.cpak, armKeys.iak),
    now: 1_790_000_000,
    cache: undefined,
    checks: new CheckLog(),
    ...options,
  }
}
