import { constants, createHash, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { digestOf } from '@cella/primitives'
import { CheckLog } from '../src/checks.ts'
import { Endorsements } from '../src/endorsements.ts'
import type { VerifyContext } from '../src/family.ts'
import type { TrustedRoot } from '../src/roots.ts'
import type { TpmHash } from '../src/tpm/algorithms.ts'
import type { TpmEvidenceEntry } from '../src/tpm/entry.ts'
import { join } from './event-log.ts'

// A TPM of our own: it signs whatever quote a test wants.

export const now = 1_790_000_000
export const rsaAk: KeyObject = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey
const newCurve = (namedCurve: string): KeyObject => generateKeyPairSync('ec', { namedCurve }).privateKey
export const eccAks = { sha256: newCurve('prime256v1'), sha384: newCurve('secp384r1'), sha512: newCurve('secp521r1') }

export const hashIds = { sha1: 4, sha256: 11, sha384: 12, sha512: 13 }

export function be(length: number, value: number | bigint): Uint8Array {
  const bytes = new Uint8Array(8)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value))
  return bytes.slice(8 - length)
}

export function hashOf(name: TpmHash, bytes: Uint8Array): Uint8Array {
  return Uint8Array.from(createHash(name).update(bytes).digest())
}

export function spkiOf(key: KeyObject): Uint8Array {
  return new Uint8Array(createPublicKey(key).export({ format: 'der', type: 'spki' }))
}

export interface WantedQuote {
  readonly magic?: number
  readonly type?: number
  readonly name?: Uint8Array
  readonly extraData?: Uint8Array
  readonly safe?: number
  readonly resetCount?: number
  readonly restartCount?: number
  readonly firmware?: bigint
  readonly banks?: readonly { readonly hash: TpmHash; readonly pcrs: readonly number[]; readonly id?: number }[]
  readonly values?: (hash: TpmHash, pcr: number) => Uint8Array
  readonly pcrDigest?: Uint8Array
  readonly hash?: TpmHash
  readonly scheme?: 'rsassa' | 'rsapss' | 'ecdsa'
  readonly key?: KeyObject
}

export const defaultBanks = [{ hash: 'sha256', pcrs: [0, 1, 4, 7, 8] }] as const

/** The parts of a quote that differs from a sound one by `wanted`. */
export function issueQuote(wanted: WantedQuote = {}): { quote: Uint8Array; signature: Uint8Array; pcrs: Uint8Array } {
  const { banks = defaultBanks, hash = 'sha256', scheme = 'ecdsa' } = wanted
  const lengths = { sha1: 20, sha256: 32, sha384: 48, sha512: 64 }
  const values = wanted.values ?? ((bank, pcr) => new Uint8Array(lengths[bank]).fill(pcr + 1))
  const pcrs = join(...banks.flatMap((bank) => bank.pcrs.map((pcr) => values(bank.hash, pcr))))
  const name = wanted.name ?? join(be(2, 11), new Uint8Array(32).fill(9))
  const extraData = wanted.extraData ?? new Uint8Array(32).fill(7)
  const pcrDigest = wanted.pcrDigest ?? hashOf(hash, pcrs)
  const selection = banks.map((bank) => {
    const bitmap = new Uint8Array(3)
    for (const pcr of bank.pcrs) bitmap[pcr >> 3]! |= 1 << (pcr & 7)
    return join(be(2, ('id' in bank ? bank.id : undefined) ?? hashIds[bank.hash]), be(1, 3), bitmap)
  })
  const quote = join(
    be(4, wanted.magic ?? 0xff544347),
    be(2, wanted.type ?? 0x8018),
    be(2, name.length),
    name,
    be(2, extraData.length),
    extraData,
    be(8, 123_456n),
    be(4, wanted.resetCount ?? 5),
    be(4, wanted.restartCount ?? 6),
    be(1, wanted.safe ?? 1),
    be(8, wanted.firmware ?? 0x2020_0312_0012_0003n),
    be(4, banks.length),
    ...selection,
    be(2, pcrDigest.length),
    pcrDigest,
  )
  return { quote, signature: signQuote(quote, { scheme, hash, key: wanted.key }), pcrs }
}

/** TPMT_SIGNATURE. */
export function signQuote(
  quote: Uint8Array,
  { scheme, hash, key }: { scheme: 'rsassa' | 'rsapss' | 'ecdsa'; hash: TpmHash; key?: KeyObject | undefined },
): Uint8Array {
  if (scheme === 'ecdsa') {
    const curve = hash === 'sha1' ? 'sha256' : hash
    const raw = sign(hash, quote, { key: key ?? eccAks[curve], dsaEncoding: 'ieee-p1363' })
    const half = raw.length / 2
    return join(be(2, 0x18), be(2, hashIds[hash]), be(2, half), raw.subarray(0, half), be(2, half), raw.subarray(half))
  }
  const padding = scheme === 'rsapss' ? constants.RSA_PKCS1_PSS_PADDING : constants.RSA_PKCS1_PADDING
  const pss = scheme === 'rsapss' ? { saltLength: constants.RSA_PSS_SALTLEN_DIGEST } : {}
  const raw = sign(hash, quote, { key: key ?? rsaAk, padding, ...pss })
  return join(be(2, scheme === 'rsassa' ? 0x14 : 0x16), be(2, hashIds[hash]), be(2, raw.length), raw)
}

export function issueTpm(wanted: WantedQuote = {}, more: Partial<TpmEvidenceEntry> = {}): TpmEvidenceEntry {
  const { hash = 'sha256', scheme = 'ecdsa' } = wanted
  const key = wanted.key ?? (scheme === 'ecdsa' ? eccAks[hash === 'sha1' ? 'sha256' : hash] : rsaAk)
  return { role: 'vtpm', format: 'tpm/1', ...issueQuote(wanted), key: spkiOf(key), ...more }
}

export const tpmRoots: readonly TrustedRoot[] = [rsaAk, ...Object.values(eccAks)].map((key) => ({
  tee: 'tpm',
  spki: digestOf(spkiOf(key)),
  simulated: false,
}))

export function tpmContext(options: Partial<VerifyContext> = {}): VerifyContext {
  return {
    roots: tpmRoots,
    issuers: [],
    endorsements: Endorsements.none,
    now,
    cache: undefined,
    checks: new CheckLog(),
    ...options,
  }
}
