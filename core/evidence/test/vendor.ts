import { constants, createPublicKey, generateKeyPair, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { promisify } from 'node:util'
import { digestOf } from '@cella/primitives'
import type { Evidence } from '../src/evidence.ts'
import type { SnpRoot } from '../src/roots.ts'
import type { SnpVekClaims } from '../src/sev-snp/certificates.ts'
import type { SnpEvidenceEntry } from '../src/sev-snp/entry.ts'
import { type CertificateTimes, issueArk, issueAsk, issueVek } from '../src/sev-snp/issue.ts'
import type { SnpVek } from '../src/sev-snp/names.ts'
import { hasTurinLayout, type SnpProduct } from '../src/sev-snp/product.ts'
import { encodeSnpReport, type SnpReport, snpSignedLength } from '../src/sev-snp/report.ts'
import { encodeTcb, type SnpTcb } from '../src/sev-snp/tcb.ts'
import type { VerifiedSnp } from '../src/sev-snp/verify.ts'
import type { VerifyOptions } from '../src/verifier.ts'
import { verifyEvidence } from '../src/verify.ts'

// A vendor of our own, whose keys are made once a process. One ARK and one ASK key serve all products, since
// roots are told apart by product too.

const generate = promisify(generateKeyPair)
const rsa = (): Promise<KeyObject> => generate('rsa', { modulusLength: 4096 }).then((pair) => pair.privateKey)

const [ark, ask] = await Promise.all([rsa(), rsa()])
export const arkKey: KeyObject = ark
export const askKey: KeyObject = ask
export const vekKey: KeyObject = newP384Key()

export function newP384Key(): KeyObject {
  return generateKeyPairSync('ec', { namedCurve: 'secp384r1' }).privateKey
}

export function spkiOf(key: KeyObject): Uint8Array {
  return new Uint8Array(createPublicKey(key).export({ format: 'der', type: 'spki' }))
}

export function signerOf(key: KeyObject): (tbs: Uint8Array) => Uint8Array {
  return (tbs) => sign('sha384', tbs, { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 48 })
}

export const now = 1_790_000_000
const times: CertificateTimes = { notBefore: now - 1000, notAfter: now + 1000 }

export const roots: readonly SnpRoot[] = (['Milan', 'Genoa', 'Turin', 'Venice'] as const).map((product) => ({
  tee: 'sev-snp',
  product,
  spki: digestOf(spkiOf(arkKey)),
  simulated: false,
}))

const lines: Readonly<Record<SnpProduct, { cpuid: SnpReport['cpuid']; tcb: SnpTcb }>> = {
  Milan: { cpuid: { family: 0x19, model: 1, stepping: 1 }, tcb: { bootLoader: 4, tee: 1, snp: 27, microcode: 222 } },
  Genoa: { cpuid: { family: 0x19, model: 0xa0, stepping: 2 }, tcb: { bootLoader: 10, tee: 1, snp: 23, microcode: 84 } },
  Turin: {
    cpuid: { family: 0x1a, model: 2, stepping: 1 },
    tcb: { fmc: 1, bootLoader: 1, tee: 1, snp: 4, microcode: 81 },
  },
  Venice: {
    cpuid: { family: 0x1a, model: 0x50, stepping: 0 },
    tcb: { fmc: 2, bootLoader: 1, tee: 1, snp: 1, microcode: 3 },
  },
}

/** What differs from a sound machine. */
export interface Build {
  readonly product?: SnpProduct
  readonly vek?: SnpVek
  readonly report?: Partial<SnpReport>
  /** Changes the bytes before they are signed. */
  readonly patch?: (report: Uint8Array) => void
  readonly claims?: Partial<SnpVekClaims>
  readonly leafTimes?: CertificateTimes
  readonly askTimes?: CertificateTimes
  /** Who signs the report, instead of the key in the certificate. */
  readonly reportKey?: KeyObject
  readonly askIssuer?: KeyObject
  readonly arkIssuer?: KeyObject
  readonly leafIssuer?: KeyObject
  readonly leafSpki?: Uint8Array
  readonly askSpki?: Uint8Array
  /** Kind of the intermediate. */
  readonly askKind?: SnpVek
  readonly arkProduct?: SnpProduct
}

export function soundReport(product: SnpProduct, vek: SnpVek): SnpReport {
  const tcb = encodeTcb(lines[product].tcb, product)
  const chipId = new Uint8Array(64)
  chipId.fill(0xc1, 0, hasTurinLayout(product) ? 8 : 64)
  const off = { smt: false, raplDisabled: false, ciphertextHiding: false }
  return {
    version: 5,
    guestSvn: 7,
    policy: {
      ...off,
      abiMajor: 1,
      abiMinor: 31,
      migrationAgent: false,
      debug: false,
      singleSocket: false,
      cxlAllowed: false,
      memoryAes256Xts: false,
      pageSwapDisabled: false,
    },
    familyId: new Uint8Array(16).fill(1),
    imageId: new Uint8Array(16).fill(2),
    vmpl: 0,
    currentTcb: tcb,
    reportedTcb: tcb,
    committedTcb: tcb,
    launchTcb: tcb,
    platformInfo: { ...off, tsme: false, ecc: true, aliasCheckComplete: true, iommuWriteSafe: true, tio: false },
    authorKeyEnabled: false,
    maskChipKey: false,
    signingKey: vek,
    reportData: new Uint8Array(64).fill(3),
    measurement: new Uint8Array(48).fill(4),
    hostData: new Uint8Array(32).fill(5),
    idKeyDigest: new Uint8Array(48).fill(6),
    authorKeyDigest: new Uint8Array(48),
    reportId: new Uint8Array(32).fill(8),
    reportIdMa: new Uint8Array(32).fill(0xff),
    cpuid: lines[product].cpuid,
    chipId: vek === 'vcek' ? chipId : new Uint8Array(64),
    current: { major: 1, minor: 55, build: 40 },
    committed: { major: 1, minor: 55, build: 40 },
    launchMitigation: 0b1011n,
    currentMitigation: 0b1011n,
    signature: new Uint8Array(96),
  }
}

export interface SnpEvidence extends Evidence {
  readonly entries: readonly SnpEvidenceEntry[]
}

/** Signed evidence of a machine that differs from a sound one by `build`. */
export async function issueEvidence(build: Build = {}): Promise<SnpEvidence> {
  const { product = 'Milan', vek = 'vcek' } = build
  const report = encodeSnpReport({ ...soundReport(product, vek), ...build.report })
  build.patch?.(report)
  const signature = sign('sha384', report.subarray(0, snpSignedLength), {
    key: build.reportKey ?? vekKey,
    dsaEncoding: 'ieee-p1363',
  })
  report.set(signature.subarray(0, 48).reverse(), 0x2a0)
  report.set(signature.subarray(48).reverse(), 0x2e8)
  return { entries: [{ role: 'cpu', format: 'sev-snp/1', report, certificates: await issueChain(build) }] }
}

export async function issueChain(build: Build = {}): Promise<[Uint8Array, Uint8Array, Uint8Array]> {
  const { product = 'Milan', vek = 'vcek' } = build
  const claims: SnpVekClaims = {
    product,
    productName: product === 'Milan' ? 'Milan-B0' : product,
    tcb: lines[product].tcb,
    hwId: vek === 'vcek' ? new Uint8Array(hasTurinLayout(product) ? 8 : 64).fill(0xc1) : undefined,
    provider: vek === 'vlek' ? 'CN=cc-eu-west-1.example.net' : undefined,
    ...build.claims,
  }
  return Promise.all([
    issueVek({
      vek,
      claims,
      spki: build.leafSpki ?? spkiOf(vekKey),
      sign: signerOf(build.leafIssuer ?? askKey),
      ...(build.leafTimes ?? times),
    }),
    issueAsk({
      product: build.arkProduct ?? product,
      vek: build.askKind ?? vek,
      spki: build.askSpki ?? spkiOf(askKey),
      sign: signerOf(build.askIssuer ?? arkKey),
      ...(build.askTimes ?? times),
    }),
    issueArk({
      product: build.arkProduct ?? product,
      spki: spkiOf(arkKey),
      sign: signerOf(build.arkIssuer ?? arkKey),
      ...times,
    }),
  ])
}

/** Evidence of this entry alone. */
export function snpEvidence(entry: SnpEvidenceEntry): SnpEvidence {
  return { entries: [entry] }
}

/** Verifies evidence whose one entry is a SEV-SNP report. */
export async function verifySnpEvidence(evidence: Evidence, options: VerifyOptions): Promise<VerifiedSnp> {
  return (await verifyEvidence(evidence, options)).entries[0] as VerifiedSnp
}
