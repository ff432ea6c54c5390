import { encodeHex, equalBytes } from '@cella/bytes'
import { verifySignature } from '@cella/primitives'
import { EvidenceError, reading } from '../error.ts'
import type { EvidenceRole } from '../evidence.ts'
import type { VerifiedEntry, VerifyContext } from '../family.ts'
import { type Certificate, mayUseKeyFor, parseCertificate } from '../x509/certificate.ts'
import { crlsOf } from '../x509/crl.ts'
import { buildPath, type CertificatePath, judgePath } from '../x509/path.ts'
import { type NvidiaIdentity, readIdentity } from './identity.ts'
import { judgeByOcsp, ocspResponsesOf } from './ocsp.ts'
import { type NvidiaConfiguration, readOpaque } from './opaque.ts'
import { parseSpdmReport, type SpdmReport } from './report.ts'
import { compareMeasurements, type RimMismatch, type VerifiedRim, type WantedRims } from './rims.ts'

export const nvidiaFormat = 'nvidia-gpu/1'
/** Leaf, three intermediates, root. */
const certificateCount = 5

/** A report of an NVIDIA GPU or NVSwitch with the certificates of its key, each DER, the root among them. */
export interface NvidiaEntry {
  readonly role: EvidenceRole
  readonly format: typeof nvidiaFormat
  /** SPDM GET_MEASUREMENTS ‖ MEASUREMENTS. */
  readonly report: Uint8Array
  readonly certificates: readonly Uint8Array[]
}

/** How the report compares with NVIDIA's manifests; `undefined` where none were read. */
interface RimVerdict {
  readonly mismatches: readonly RimMismatch[]
}

/** A genuine report: signed by the key of a chain that ends at a trusted root. Not yet acceptable to anyone. */
export interface VerifiedNvidia extends VerifiedEntry {
  readonly format: typeof nvidiaFormat
  readonly identity: NvidiaIdentity
  readonly configuration: NvidiaConfiguration
  readonly report: SpdmReport
  readonly revocation: 'checked' | 'partly-checked' | 'not-checked'
  readonly rims: RimVerdict | undefined
}

/** Reads and verifies the manifests among `context.endorsements`. Lives in `@cella/evidence/nvidia-rim`, with its XML. */
export type RimReader = (context: VerifyContext, wanted: WantedRims) => Promise<readonly VerifiedRim[]>

/** Steps 1 to 8 of docs/formats/evidence-nvidia.md. Throws EvidenceError at the first that fails. */
export async function verifyNvidia(
  entry: NvidiaEntry,
  context: VerifyContext,
  readRims: RimReader | undefined,
): Promise<VerifiedNvidia> {
  const { checks, now } = context
  const report = reading(() => parseSpdmReport(entry.report))
  checks.passed('nvidia-report', 'SPDM 1.1 GET_MEASUREMENTS ‖ MEASUREMENTS')
  const path = await chainOf(entry, context)
  const [leaf, issuer] = path.certificates as readonly [Certificate, Certificate]
  const identity = reading(() => readIdentity(leaf, issuer))
  checks.passed('nvidia-chain', 'NVIDIA Device Identity CA', identity.model)
  const judged = await judgePath(path, { now, crls: crlsOf(context.endorsements), revocation: 'if-given' })
  checks.passed('nvidia-validity', 'certificates in force')
  const ocsp = await judgeByOcsp(path.certificates, {
    responses: ocspResponsesOf(context.endorsements),
    now,
    name: 'certificate of the device',
  })
  const revocation =
    judged.revocation === 'checked' || ocsp.checked === 'all'
      ? 'checked'
      : ocsp.checked === 'partly'
        ? 'partly-checked'
        : 'not-checked'
  if (revocation === 'not-checked') {
    checks.notApplicable('nvidia-revocation', 'no OCSP response or CRL about the chain was given')
  } else {
    checks.passed('nvidia-revocation', 'no certificate revoked or on hold', revocation)
  }
  await checkSignature(report, leaf)
  checks.passed('nvidia-signature', 'signed by the key of the device’s certificate')
  const configuration = reading(() => readOpaque(report.opaque, identity.device))
  checkFirmware(configuration, identity, context)
  const rims = await judgeRims(report, { identity, configuration }, context, readRims)
  const simulated = path.root.simulated || rims?.used.some((rim) => rim.simulated) === true
  const windows = [judged, ocsp, ...(rims?.used ?? [])]
  const issued = [judged.collateralIssuedAt, ocsp.issuedAt, ...(rims?.used ?? []).map((rim) => rim.collateralIssuedAt)]
  const dates = issued.filter((date) => date !== undefined)
  return {
    format: nvidiaFormat,
    role: entry.role,
    claims: {
      tee: 'nvidia-gpu',
      role: entry.role,
      boundary: null,
      measurement: encodeHex(identity.fwid),
      measurements: {
        fwid: encodeHex(identity.fwid),
        ...Object.fromEntries(report.measurements.map(({ index, value }) => [`measurement${index}`, encodeHex(value)])),
      },
      hostData: null,
      reportData: encodeHex(report.nonce),
      platformId: identity.serial,
      provider: null,
      tcb: {
        status: null,
        advisories: [],
        levels: { driver: configuration.driverVersion, vbios: configuration.vbiosVersion },
        date: null,
        evaluation: null,
      },
      // The report has no such bit: NVIDIA takes debug for off where the measurements are its manifests'.
      debug: false,
      simulated,
      hardware: {
        device: identity.device,
        chip: identity.chip,
        model: identity.model,
        driverVersion: configuration.driverVersion,
        vbiosVersion: configuration.vbiosVersion,
        project: configuration.project,
        projectSku: configuration.projectSku,
        chipSku: configuration.chipSku,
        boardId: configuration.boardId,
        mode: configuration.mode,
        protectedPcie: configuration.protectedPcie,
        devicePdi: configuration.devicePdi,
        linkedDevices: configuration.linkedDevices,
        revocation,
        manifests: rims === undefined ? 'not-compared' : rims.verdict.mismatches.length === 0 ? 'match' : 'differ',
      },
    },
    root: path.root,
    simulated,
    notBefore: Math.max(...windows.map(({ notBefore }) => notBefore)),
    notAfter: Math.min(...windows.map(({ notAfter }) => notAfter)),
    collateralIssuedAt: dates.length === 0 ? undefined : Math.min(...dates),
    verifiedAt: now,
    identity,
    configuration,
    report,
    revocation,
    rims: rims?.verdict,
  }
}

async function chainOf({ certificates }: NvidiaEntry, context: VerifyContext): Promise<CertificatePath> {
  if (certificates.length !== certificateCount) {
    throw new EvidenceError(
      'ERR_EVIDENCE_CHAIN',
      `certificates: there are ${certificates.length}, expected ${certificateCount}: the device's, three intermediates and the root`,
    )
  }
  const [leaf, ...pool] = reading(() => certificates.map((der, at) => parseCertificate(der, `certificates[${at}]`)))
  if (leaf === undefined) throw new EvidenceError('ERR_EVIDENCE_CHAIN', 'certificates: there are none')
  if (!mayUseKeyFor(leaf, 'digitalSignature')) {
    throw new EvidenceError(
      'ERR_EVIDENCE_CHAIN',
      'certificate of the device: its key may not sign reports; put it first',
    )
  }
  const path = await buildPath(leaf, {
    tee: 'nvidia-gpu',
    roots: context.roots,
    pool,
    name: 'certificate of the device',
  })
  // A key right below a root, or one that a device certified in turn, is not NVIDIA's kind of chain.
  if (path.certificates.length !== certificateCount) {
    throw new EvidenceError(
      'ERR_EVIDENCE_CHAIN',
      `certificate of the device: its chain has ${path.certificates.length} certificates, expected ${certificateCount}`,
    )
  }
  return path
}

async function checkSignature(report: SpdmReport, leaf: Certificate): Promise<void> {
  let genuine = false
  try {
    genuine = await verifySignature('ecdsa-p384-sha384', leaf.spki, report.signed, report.signature)
  } catch {
    // A point that is not on the curve has signed nothing.
  }
  if (!genuine) {
    throw new EvidenceError('ERR_EVIDENCE_SIGNATURE', 'report is not signed by the key of its device’s certificate')
  }
}

function checkFirmware(configuration: NvidiaConfiguration, identity: NvidiaIdentity, { checks }: VerifyContext): void {
  const { fwid } = configuration
  if (fwid === null) {
    if (identity.device === 'gpu') {
      throw new EvidenceError('ERR_EVIDENCE_BINDING', 'report of a GPU does not say which firmware (FWID) made it')
    }
    checks.notApplicable('nvidia-fwid', 'a switch does not repeat its FWID in the report')
    return
  }
  if (!equalBytes(fwid, identity.fwid)) {
    throw new EvidenceError(
      'ERR_EVIDENCE_BINDING',
      `report is of the firmware ${encodeHex(fwid)}, its certificate of ${encodeHex(identity.fwid)}`,
    )
  }
  checks.passed('nvidia-fwid', encodeHex(identity.fwid))
}

async function judgeRims(
  report: SpdmReport,
  { identity, configuration }: { identity: NvidiaIdentity; configuration: NvidiaConfiguration },
  context: VerifyContext,
  readRims: RimReader | undefined,
): Promise<{ used: readonly VerifiedRim[]; verdict: RimVerdict } | undefined> {
  const { checks } = context
  if (readRims === undefined) {
    checks.notApplicable('nvidia-manifests', 'this verifier was made without @cella/evidence/nvidia-rim')
    return undefined
  }
  const { driverVersion, vbiosVersion } = configuration
  const versions = driverVersion === null ? [vbiosVersion] : [driverVersion, vbiosVersion]
  const rims = (await readRims(context, { product: identity.chip, versions })).filter(
    ({ product }) => product === identity.chip,
  )
  const find = (version: string): VerifiedRim | undefined =>
    rims.find((rim) => rim.version.toUpperCase() === version.toUpperCase())
  const driver = driverVersion === null ? undefined : find(driverVersion)
  const vbios = find(vbiosVersion)
  if (vbios === undefined || (driverVersion !== null && driver === undefined)) {
    const missing = [
      vbios ? [] : [`VBIOS ${vbiosVersion}`],
      driverVersion && !driver ? [`driver ${driverVersion}`] : [],
    ]
    checks.notApplicable('nvidia-manifests', `no manifest was given for ${missing.flat().join(' and ')}`)
    return undefined
  }
  const mismatches = compareMeasurements(report.measurements, { driver, vbios }, configuration.nvdec0)
  checks.passed('nvidia-manifests', 'signed manifests of driver and VBIOS', `${mismatches.length} measurements differ`)
  return { used: driver === undefined ? [vbios] : [driver, vbios], verdict: { mismatches } }
}
