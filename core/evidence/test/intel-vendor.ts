import { createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { digestOf } from '@cella/primitives'
import { type Endorsement, Endorsements } from '../src/endorsements.ts'
import type { EnclaveIdentity } from '../src/intel/enclave-identity.ts'
import type { SgxEvidenceEntry, TdxEvidenceEntry } from '../src/intel/entry.ts'
import {
  type IntelSigner,
  type IssuedBody,
  type IssueTimes,
  issueEnclaveIdentity,
  issueIntelCrl,
  issueIntelQuote,
  issueIntelRoot,
  issuePck,
  issuePckCa,
  issueTcbInfo,
  issueTcbSigning,
  type PckCa,
  pemChain,
} from '../src/intel/issue.ts'
import type { PckClaims } from '../src/intel/pck.ts'
import type { SgxReport } from '../src/intel/sgx-report.ts'
import type { TcbInfo } from '../src/intel/tcb-info.ts'
import type { TdReport } from '../src/intel/td-report.ts'
import type { OtherRoot } from '../src/roots.ts'

// An Intel of our own, whose keys are made once a process.

export const now = 1_790_000_000
const day = 86_400
export const times: IssueTimes = { notBefore: now - 100 * day, notAfter: now + 100 * day }

export function newP256Key(): KeyObject {
  return generateKeyPairSync('ec', { namedCurve: 'prime256v1' }).privateKey
}

export const keys = {
  root: newP256Key(),
  platform: newP256Key(),
  processor: newP256Key(),
  pck: newP256Key(),
  tcbSigning: newP256Key(),
  attestation: newP256Key(),
  stranger: newP256Key(),
} as const

export function spkiOf(key: KeyObject): Uint8Array {
  return new Uint8Array(createPublicKey(key).export({ format: 'der', type: 'spki' }))
}

/** x ‖ y. */
export function pointOf(key: KeyObject): Uint8Array {
  return spkiOf(key).slice(-64)
}

export function signerOf(key: KeyObject): IntelSigner {
  return (message) => new Uint8Array(sign('sha256', message, { key, dsaEncoding: 'ieee-p1363' }))
}

export const roots: readonly OtherRoot[] = (['sgx', 'tdx'] as const).map((tee) => ({
  tee,
  spki: digestOf(spkiOf(keys.root)),
  simulated: false,
}))

export const components: readonly number[] = [5, 5, 2, 2, 4, 1, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0]
export const zeroComponents: readonly number[] = new Array<number>(16).fill(0)
const upToDate = { status: 'UpToDate', advisories: [], date: now - 50 * day } as const

export const claims: PckClaims = {
  ppid: '11'.repeat(16),
  components,
  pceSvn: 13,
  // As on every real platform: the same numbers.
  cpuSvn: Uint8Array.from(components),
  pceId: '0000',
  fmspc: '00906ed50000',
  sgxType: 'scalable',
  platformInstanceId: '22'.repeat(16),
  dynamicPlatform: false,
  cachedKeys: true,
  smtEnabled: true,
}

const sgxSigner = '8c4f5775d796503e96137f77c68a829a0056ac8ded70140b081b094490c57bff'
const tdxSigner = 'dc9e2a7c6f948f17474e34a7fc43ed030f7c1563f1babddf6340c82e0e54a8c5'

export function qeReport(tee: 'sgx' | 'tdx'): Omit<SgxReport, 'kind' | 'attributes' | 'reportData'> {
  return {
    cpuSvn: new Uint8Array(16).fill(7),
    miscSelect: new Uint8Array(4),
    extendedProductId: new Uint8Array(16),
    rawAttributes: Uint8Array.fromHex('1500000000000000e700000000000000'),
    mrEnclave: new Uint8Array(32).fill(0x51),
    mrSigner: Uint8Array.fromHex(tee === 'sgx' ? sgxSigner : tdxSigner),
    configId: new Uint8Array(64),
    productId: tee === 'sgx' ? 1 : 2,
    svn: 8,
    configSvn: 0,
    familyId: new Uint8Array(16),
  }
}

export const enclave: Omit<SgxReport, 'kind' | 'attributes'> = {
  cpuSvn: new Uint8Array(16).fill(7),
  miscSelect: new Uint8Array(4),
  extendedProductId: new Uint8Array(16).fill(0x31),
  // INIT, MODE64, KSS; x87, SSE, AVX.
  rawAttributes: Uint8Array.fromHex('85000000000000000700000000000000'),
  mrEnclave: new Uint8Array(32).fill(0x41),
  mrSigner: new Uint8Array(32).fill(0x42),
  configId: new Uint8Array(64).fill(0x43),
  productId: 4000,
  svn: 6,
  configSvn: 3,
  familyId: new Uint8Array(16).fill(0x32),
  reportData: new Uint8Array(64).fill(0x44),
}

type Td = Omit<TdReport, 'kind' | 'tdAttributes' | 'xfam'>

export const td: Td = {
  teeTcbSvn: Uint8Array.from([5, 1, 4, ...new Array<number>(13).fill(0)]),
  mrSeam: new Uint8Array(48).fill(0x61),
  mrSignerSeam: new Uint8Array(48),
  seamAttributes: new Uint8Array(8),
  // SEPT_VE_DISABLE.
  rawTdAttributes: Uint8Array.fromHex('0000001000000000'),
  rawXfam: Uint8Array.fromHex('e700060000000000'),
  mrTd: new Uint8Array(48).fill(0x62),
  mrConfigId: new Uint8Array(48).fill(0x63),
  mrOwner: new Uint8Array(48),
  mrOwnerConfig: new Uint8Array(48),
  rtmrs: [
    new Uint8Array(48).fill(0x70),
    new Uint8Array(48).fill(0x71),
    new Uint8Array(48).fill(0x72),
    new Uint8Array(48),
  ],
  reportData: new Uint8Array(64).fill(0x64),
  teeTcbSvn2: undefined,
  mrServiceTd: undefined,
}

/** What TD 1.5 adds. */
export const td15 = { teeTcbSvn2: td.teeTcbSvn, mrServiceTd: new Uint8Array(48) } as const

const module = { mrSigner: '00'.repeat(48), attributes: '00'.repeat(8), attributesMask: 'ff'.repeat(8) } as const

export function tcbInfo(tee: 'sgx' | 'tdx'): TcbInfo {
  const tdx = tee === 'tdx' ? [9, 0, 4, ...new Array<number>(13).fill(0)] : undefined
  return {
    tee,
    version: 3,
    issuedAt: now - 5 * day,
    nextUpdate: now + 25 * day,
    fmspc: claims.fmspc,
    pceId: claims.pceId,
    evaluation: 18,
    tdxModule: tee === 'tdx' ? module : undefined,
    tdxModules:
      tee === 'tdx'
        ? [
            {
              id: 'TDX_01',
              ...module,
              levels: [
                { ...upToDate, svn: 5 },
                { status: 'OutOfDate', advisories: ['INTEL-SA-00900'], date: now - 400 * day, svn: 2 },
              ],
            },
          ]
        : [],
    levels: [
      // The worse one first: the order of the source decides nothing.
      {
        status: 'OutOfDate',
        advisories: ['INTEL-SA-00700'],
        date: now - 700 * day,
        sgx: zeroComponents,
        pceSvn: 5,
        tdx: tdx && zeroComponents,
      },
      { ...upToDate, sgx: components, pceSvn: 13, tdx },
    ],
  }
}

export function identity(tee: 'sgx' | 'tdx'): EnclaveIdentity {
  return {
    id: tee === 'sgx' ? 'QE' : 'TD_QE',
    version: 2,
    issuedAt: now - 4 * day,
    nextUpdate: now + 26 * day,
    evaluation: 17,
    miscSelect: '00000000',
    miscSelectMask: 'ffffffff',
    attributes: '11000000000000000000000000000000',
    attributesMask: 'fbffffffffffffff0000000000000000',
    mrSigner: tee === 'sgx' ? sgxSigner : tdxSigner,
    productId: tee === 'sgx' ? 1 : 2,
    levels: [
      { ...upToDate, svn: 8 },
      { status: 'OutOfDate', advisories: ['INTEL-SA-00800'], date: now - 600 * day, svn: 3 },
    ],
  }
}

const serials = { root: 1, platform: 2, processor: 3, pck: 4, tcbSigning: 5 } as const

/** What differs from a sound platform. */
export interface Build {
  readonly version?: 3 | 4 | 5
  readonly ca?: PckCa
  readonly enclave?: Partial<typeof enclave>
  readonly td?: Partial<Td>
  readonly qe?: Partial<ReturnType<typeof qeReport>>
  readonly claims?: Partial<PckClaims>
  readonly pckTimes?: IssueTimes
  readonly pckSerial?: number
  readonly caTimes?: IssueTimes
  /** Who signs, instead of the key that should. */
  readonly quoteKey?: KeyObject
  readonly qeKey?: KeyObject
  readonly pckIssuer?: KeyObject
  readonly caIssuer?: KeyObject
  readonly rootKey?: KeyObject
  /** Order of leaf, CA and root in the quote. */
  readonly order?: (chain: Uint8Array[]) => Uint8Array[]
  readonly certification?: { readonly type: number; readonly data: Uint8Array }
  /** Other bytes than the QE's report has the digest of. */
  readonly authData?: Uint8Array
}

export interface Chain {
  readonly root: Uint8Array
  readonly ca: Uint8Array
  readonly pck: Uint8Array
}

export async function issueChain(build: Build = {}): Promise<Chain> {
  const { ca = 'platform' } = build
  const rootKey = build.rootKey ?? keys.root
  const [root, caCertificate, pck] = await Promise.all([
    issueIntelRoot({ ...times, serial: serials.root, spki: spkiOf(rootKey), sign: signerOf(rootKey) }),
    issuePckCa({
      ...(build.caTimes ?? times),
      ca,
      serial: serials[ca],
      spki: spkiOf(keys[ca]),
      sign: signerOf(build.caIssuer ?? rootKey),
    }),
    issuePck({
      ...(build.pckTimes ?? times),
      ca,
      serial: build.pckSerial ?? serials.pck,
      spki: spkiOf(keys.pck),
      claims: { ...claims, ...build.claims },
      sign: signerOf(build.pckIssuer ?? keys[ca]),
    }),
  ])
  return { root, ca: caCertificate, pck }
}

async function issueQuote(tee: 'sgx' | 'tdx', build: Build): Promise<Uint8Array> {
  const chain = await issueChain(build)
  const order = build.order ?? ((certificates) => certificates)
  const body: IssuedBody =
    tee === 'sgx'
      ? { kind: 'sgx', report: { ...enclave, ...build.enclave } }
      : { kind: 'tdx', report: { ...td, ...build.td } }
  return issueIntelQuote(build.version ?? (tee === 'sgx' ? 3 : 4), body, {
    report: { ...qeReport(tee), ...build.qe },
    authData: build.authData ?? new Uint8Array(32).fill(9),
    attestationKey: pointOf(keys.attestation),
    sign: signerOf(build.quoteKey ?? keys.attestation),
    certify: signerOf(build.qeKey ?? keys.pck),
    certification: build.certification ?? { type: 5, data: pemChain(order([chain.pck, chain.ca, chain.root])) },
  })
}

export async function issueSgx(build: Build = {}): Promise<SgxEvidenceEntry> {
  return { role: 'cpu', format: 'sgx/1', quote: await issueQuote('sgx', build) }
}

export async function issueTdx(build: Build = {}): Promise<TdxEvidenceEntry> {
  return { role: 'cpu', format: 'tdx/1', quote: await issueQuote('tdx', build) }
}

/** What differs from sound collateral; `undefined` of a list leaves that kind out. */
export interface CollateralBuild {
  readonly ca?: PckCa
  readonly infos?: readonly TcbInfo[]
  readonly identities?: readonly EnclaveIdentity[]
  readonly infoKey?: KeyObject
  readonly identityKey?: KeyObject
  readonly signingIssuer?: KeyObject
  readonly signingTimes?: IssueTimes
  readonly withoutSigning?: true
  readonly rootKey?: KeyObject
  /** Serial numbers on the lists of the root and of the PCK CA. */
  readonly revokedByRoot?: readonly (keyof typeof serials)[]
  readonly revokedByCa?: readonly (keyof typeof serials)[]
  readonly crls?: 'none' | 'root-only'
  readonly crlTimes?: { readonly thisUpdate: number; readonly nextUpdate: number }
}

export async function issueCollateral(tee: 'sgx' | 'tdx', build: CollateralBuild = {}): Promise<Endorsements> {
  const { ca = 'platform', crlTimes = { thisUpdate: now - 6 * day, nextUpdate: now + 20 * day } } = build
  const rootKey = build.rootKey ?? keys.root
  const rootSpki = spkiOf(rootKey)
  const revoked = (names: readonly (keyof typeof serials)[] = []): { serial: number; at: number }[] =>
    names.map((name) => ({ serial: serials[name], at: now - 10 * day }))
  const content: Endorsement[] = [
    {
      kind: 'certificate',
      content: await issueIntelRoot({ ...times, serial: serials.root, spki: rootSpki, sign: signerOf(rootKey) }),
    },
  ]
  if (!build.withoutSigning) {
    const signing = await issueTcbSigning({
      ...(build.signingTimes ?? times),
      serial: serials.tcbSigning,
      spki: spkiOf(keys.tcbSigning),
      sign: signerOf(build.signingIssuer ?? rootKey),
    })
    content.push({ kind: 'certificate', content: signing })
  }
  const list = (issuer: 'root' | PckCa, names: readonly (keyof typeof serials)[] | undefined): Promise<Uint8Array> =>
    issueIntelCrl({
      issuer,
      number: 1,
      ...crlTimes,
      revoked: revoked(names),
      sign: signerOf(issuer === 'root' ? rootKey : keys[issuer]),
    })
  if (build.crls !== 'none') content.push({ kind: 'crl', content: await list('root', build.revokedByRoot) })
  if (build.crls === undefined) content.push({ kind: 'crl', content: await list(ca, build.revokedByCa) })
  for (const info of build.infos ?? [tcbInfo(tee)]) {
    content.push({
      kind: 'tcb-info',
      content: await issueTcbInfo(info, signerOf(build.infoKey ?? keys.tcbSigning)),
    })
  }
  for (const one of build.identities ?? [identity(tee)]) {
    content.push({
      kind: 'enclave-identity',
      content: await issueEnclaveIdentity(one, signerOf(build.identityKey ?? keys.tcbSigning)),
    })
  }
  return new Endorsements(content)
}

/** Collateral in the JSON form of Intel's library. */
export async function collateralJson(tee: 'sgx' | 'tdx', build: CollateralBuild = {}): Promise<Uint8Array> {
  const whole = await issueCollateral(tee, build)
  const { root, ca } = await issueChain()
  const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)
  // {"<member>":…,"signature":"…"}
  const split = (kind: 'tcb-info' | 'enclave-identity', member: string): readonly [string, string] => {
    const statement = text(whole.all(kind)[0]!.content)
    return [statement.slice(member.length + 4, -144), statement.slice(-130, -2)]
  }
  const [rootCrl, pckCrl] = whole.all('crl').map(({ content }) => content.toHex())
  const [tcbInfo, tcbInfoSignature] = split('tcb-info', 'tcbInfo')
  const [qeIdentity, qeIdentitySignature] = split('enclave-identity', 'enclaveIdentity')
  const signing = text(pemChain([...whole.all('certificate')].reverse().map(({ content }) => content)))
  const json = {
    pck_crl_issuer_chain: text(pemChain([ca, root])),
    root_ca_crl: rootCrl,
    pck_crl: pckCrl,
    tcb_info_issuer_chain: signing,
    tcb_info: tcbInfo,
    tcb_info_signature: tcbInfoSignature,
    qe_identity_issuer_chain: signing,
    qe_identity: qeIdentity,
    qe_identity_signature: qeIdentitySignature,
  }
  return new TextEncoder().encode(JSON.stringify(json))
}
