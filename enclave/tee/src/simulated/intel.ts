import type { KeyObject } from 'node:crypto'
import { encodeHex, encodeUtf8 } from '@cella/bytes'
import type { Endorsement } from '@cella/evidence'
import {
  type EnclaveIdentity,
  type IssuedBody,
  issueEnclaveIdentity,
  issueIntelCrl,
  issueIntelQuote,
  issuePck,
  issueTcbInfo,
  type PckClaims,
  pemChain,
  type SvnLevel,
  type TcbRating,
} from '@cella/evidence/intel-issue'
import { sha256, sha384 } from '@cella/primitives'
import { generateP256Key, signP256, spkiOf } from './keys.ts'
import type { SimulatedLevels } from './levels.ts'
import { certifiedBefore } from './platform.ts'
import { intelSerials, type SimulatedVendors } from './vendors.ts'

const day = 86_400
/** Collateral is a little old when it arrives, and Intel renews it every 30 days. */
const collateralAge = 3600
const collateralTime = 30 * day
/** tcbEvaluationDataNumber of level 1. */
const firstEvaluation = 20
const pceId = '0000'
const pceSvn = 13
/** Intel's own quoting enclaves, so that a verifier without an identity at hand knows them too. */
const quotingEnclaves = {
  sgx: { id: 'QE', signer: '8c4f5775d796503e96137f77c68a829a0056ac8ded70140b081b094490c57bff', productId: 1 },
  tdx: { id: 'TD_QE', signer: 'dc9e2a7c6f948f17474e34a7fc43ed030f7c1563f1babddf6340c82e0e54a8c5', productId: 2 },
} as const
/** INIT, MODE64 and PROVISION_KEY; XFRM of x87, SSE and AVX. */
const quotingEnclaveAttributes = Uint8Array.of(0x15, 0, 0, 0, 0, 0, 0, 0, 0x07, 0, 0, 0, 0, 0, 0, 0)
const authData = Uint8Array.from({ length: 32 }, (_, at) => at)

export interface SimulatedIntelLaunch {
  readonly measurement: Uint8Array
  readonly debug: boolean
  /** The machine's level at the launch. */
  readonly level: number
  /** Goes into MRCONFIGID (at most 48 bytes) or, with KSS, CONFIGID (at most 64); zeros when absent. */
  readonly hostData: Uint8Array | undefined
}

/** The quoting enclave of a launched machine: makes quotes over report data. */
export async function openQuotingEnclave(
  tee: 'sgx' | 'tdx',
  { intel, createdAt }: SimulatedVendors,
  launch: SimulatedIntelLaunch,
): Promise<(reportData: Uint8Array) => Promise<Uint8Array>> {
  const attestationKey = await generateP256Key()
  const components = sgxComponents(launch.level)
  const claims: PckClaims = {
    ppid: encodeHex(intel.ppid),
    components,
    pceSvn,
    cpuSvn: Uint8Array.from(components),
    pceId,
    fmspc: encodeHex(intel.fmspc),
    sgxType: 'scalable',
    platformInstanceId: encodeHex(sha256(intel.ppid).subarray(0, 16)),
    dynamicPlatform: false,
    cachedKeys: false,
    smtEnabled: true,
  }
  const pck = await issuePck({
    ca: 'platform',
    claims,
    serial: intelSerials.pck,
    spki: spkiOf(intel.pck),
    sign: signP256(intel.pckCa.key),
    notBefore: createdAt - certifiedBefore,
    notAfter: createdAt + 7 * 365 * day,
  })
  const chain = pemChain([pck, intel.pckCa.certificate, intel.root.certificate])
  const enclave = {
    report: quotingEnclaveReport(tee, launch.level),
    authData,
    attestationKey: pointOf(attestationKey),
    sign: signP256(attestationKey),
    certify: signP256(intel.pck),
    certification: { type: 5, data: chain },
  }
  return (reportData) => issueIntelQuote(tee === 'sgx' ? 3 : 4, bodyOf(tee, launch, reportData), enclave)
}

/** Everything that Intel publishes for this machine, as of `now`: certificates, two CRLs, TCB info and QE identity. */
export async function simulatedIntelCollateral(
  tee: 'sgx' | 'tdx',
  { intel, createdAt }: SimulatedVendors,
  levels: SimulatedLevels,
  now: number,
): Promise<readonly Endorsement[]> {
  const [thisUpdate, nextUpdate] = [now - collateralAge, now - collateralAge + collateralTime]
  const times = { thisUpdate, nextUpdate, number: levels.revoked.length + 1 }
  const statement = { issuedAt: thisUpdate, nextUpdate, evaluation: firstEvaluation + levels.published.length }
  const revoked = (name: 'pck' | 'pck-ca') =>
    levels.revoked.includes(name) ? [{ serial: intelSerials[name], at: thisUpdate }] : []
  const rated = ratings(levels, createdAt)
  const svnLevels = (base: number): SvnLevel[] => rated.map(({ level, rating }) => ({ svn: base + level, ...rating }))
  const sign = signP256(intel.tcbSigning.key)
  const { id, signer, productId } = quotingEnclaves[tee]
  const identity: EnclaveIdentity = {
    ...statement,
    id,
    version: 2,
    miscSelect: '00000000',
    miscSelectMask: 'ffffffff',
    // As in Intel's identities: MODE64 and XFRM may be either way.
    attributes: `11${'00'.repeat(15)}`,
    attributesMask: `fbffffffffffffff${'00'.repeat(8)}`,
    mrSigner: signer,
    productId,
    levels: svnLevels(quotingEnclaveBase),
  }
  const module = { mrSigner: '00'.repeat(48), attributes: '00'.repeat(8), attributesMask: 'ff'.repeat(8) }
  const tcbInfo = issueTcbInfo(
    {
      ...statement,
      tee,
      version: 3,
      fmspc: encodeHex(intel.fmspc),
      pceId,
      tdxModule: tee === 'tdx' ? module : undefined,
      tdxModules: tee === 'tdx' ? [{ id: 'TDX_01', ...module, levels: svnLevels(moduleBase) }] : [],
      levels: rated.map(({ level, rating }) => ({
        ...rating,
        sgx: sgxComponents(level),
        pceSvn,
        tdx: tee === 'tdx' ? [0, 0, ...tdxComponents(level).slice(2)] : undefined,
      })),
    },
    sign,
  )
  const certificates = [intel.tcbSigning.certificate, intel.pckCa.certificate, intel.root.certificate]
  return [
    ...certificates.map((content) => ({ kind: 'certificate' as const, content })),
    {
      kind: 'crl',
      content: await issueIntelCrl({
        ...times,
        issuer: 'root',
        revoked: revoked('pck-ca'),
        sign: signP256(intel.root.key),
      }),
    },
    {
      kind: 'crl',
      content: await issueIntelCrl({
        ...times,
        issuer: 'platform',
        revoked: revoked('pck'),
        sign: signP256(intel.pckCa.key),
      }),
    },
    { kind: 'tcb-info', content: await tcbInfo },
    { kind: 'enclave-identity', content: await issueEnclaveIdentity(identity, sign) },
  ]
}

/** Every level, best first: the newest is UpToDate, an older one lacks what each later one brought. */
function ratings(levels: SimulatedLevels, createdAt: number): readonly { level: number; rating: TcbRating }[] {
  const dates = [createdAt - 30 * day, ...levels.published]
  return dates
    .map((date, at) => ({
      level: at + 1,
      rating: {
        date,
        status: at + 1 === dates.length ? ('UpToDate' as const) : ('OutOfDate' as const),
        // SA-90001 and on: numbers that Intel has not reached.
        advisories: dates.slice(at + 1).map((_, later) => `INTEL-SA-${90_001 + at + later}`),
      },
    }))
    .reverse()
}

const quotingEnclaveBase = 7
const moduleBase = 4

function sgxComponents(level: number): number[] {
  return [10 + level, 10, 3, 3, 255, 255, ...Array<number>(10).fill(0)]
}

/** TEE_TCB_SVN: the module's SVN and its major version, then the SEAM loader's. */
function tdxComponents(level: number): number[] {
  return [moduleBase + level, 1, 5 + level, ...Array<number>(13).fill(0)]
}

function quotingEnclaveReport(tee: 'sgx' | 'tdx', level: number) {
  const { signer, productId } = quotingEnclaves[tee]
  return {
    cpuSvn: Uint8Array.from(sgxComponents(level)),
    miscSelect: new Uint8Array(4),
    extendedProductId: new Uint8Array(16),
    rawAttributes: quotingEnclaveAttributes,
    mrEnclave: sha256(encodeUtf8(`simulated quoting enclave ${tee} ${level}`)),
    mrSigner: Uint8Array.fromHex(signer),
    configId: new Uint8Array(64),
    productId,
    svn: quotingEnclaveBase + level,
    configSvn: 0,
    familyId: new Uint8Array(16),
  }
}

function bodyOf(tee: 'sgx' | 'tdx', launch: SimulatedIntelLaunch, reportData: Uint8Array): IssuedBody {
  const { measurement, debug, level, hostData } = launch
  if (tee === 'sgx') {
    // INIT and MODE64, DEBUG, KSS.
    const flags = 0x05 | (debug ? 0x02 : 0) | (hostData ? 0x80 : 0)
    return {
      kind: 'sgx',
      report: {
        cpuSvn: Uint8Array.from(sgxComponents(level)),
        miscSelect: new Uint8Array(4),
        extendedProductId: new Uint8Array(16),
        rawAttributes: Uint8Array.of(flags, 0, 0, 0, 0, 0, 0, 0, 0x07, 0, 0, 0, 0, 0, 0, 0),
        mrEnclave: measurement,
        mrSigner: sha256(encodeUtf8('simulated enclave signer')),
        configId: padded(hostData, 64),
        productId: 1,
        svn: 1,
        configSvn: 0,
        familyId: new Uint8Array(16),
        reportData,
      },
    }
  }
  return {
    kind: 'tdx',
    report: {
      teeTcbSvn: Uint8Array.from(tdxComponents(level)),
      mrSeam: sha384(encodeUtf8(`simulated TDX module ${level}`)),
      mrSignerSeam: new Uint8Array(48),
      seamAttributes: new Uint8Array(8),
      // DEBUG, SEPT_VE_DISABLE.
      rawTdAttributes: Uint8Array.of(debug ? 1 : 0, 0, 0, 0x10, 0, 0, 0, 0),
      rawXfam: Uint8Array.of(0xe7, 0, 0, 0, 0, 0, 0, 0),
      mrTd: measurement,
      mrConfigId: padded(hostData, 48),
      mrOwner: new Uint8Array(48),
      mrOwnerConfig: new Uint8Array(48),
      rtmrs: [new Uint8Array(48), new Uint8Array(48), new Uint8Array(48), new Uint8Array(48)],
      reportData,
      teeTcbSvn2: undefined,
      mrServiceTd: undefined,
    },
  }
}

function padded(bytes: Uint8Array | undefined, length: number): Uint8Array {
  const whole = new Uint8Array(length)
  if (bytes) whole.set(bytes)
  return whole
}

/** x ‖ y of a P-256 key, 64 bytes: the end of its SubjectPublicKeyInfo. */
function pointOf(key: KeyObject): Uint8Array {
  return spkiOf(key).slice(-64)
}
