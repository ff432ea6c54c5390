import type { KeyObject } from 'node:crypto'
import { encodeHex } from '@cella/bytes'
import {
  encodeSnpReport,
  encodeTcb,
  issueVek,
  type SnpReport,
  type SnpTcb,
  snpSignedLength,
} from '@cella/evidence/sev-snp-issue'
import { randomBytes } from '@cella/primitives'
import type { TeeDescription, TeeDriver } from '../driver.ts'
import { certificateSigner, generateP384Key, signReport, spkiOf } from './keys.ts'
import { type SimulatedLaunch, simulatedMeasurement } from './measurement.ts'
import { readSimulatedPlatform, type SimulatedPlatform } from './platform.ts'
import { simulatedProducts } from './products.ts'
import { sealSimulated, unsealSimulated } from './sealing.ts'

const day = 86_400

export interface SimulatedTeeOptions {
  /** Where `createSimulatedPlatform` put the platform. */
  readonly folder: string
  readonly measured: SimulatedLaunch
  /** 32 bytes that the launcher sets; zeros when absent. */
  readonly hostData?: Uint8Array
  /** How this guest or machine differs from a sound one, to see it refused. */
  readonly simulate?: SimulatedFaults
}

export interface SimulatedFaults {
  /** The host may read the guest's memory. */
  readonly debug?: boolean
  /** Another patch level, in the components of the platform's product. */
  readonly tcb?: SnpTcb
  /** Another machine: 64 bytes, of Turin only the first 8 set. */
  readonly chipId?: Uint8Array
  /** Privilege level, 0 to 3. */
  readonly vmpl?: number
  /** The memory was not checked for aliases. */
  readonly withoutAliasCheck?: boolean
}

/**
 * Opens the simulated SEV-SNP of `folder` for a process with these measured parts. Its evidence has the vendor's exact
 * format and verifies under the installation's own root alone. Throws TeeError.
 */
export async function openSimulatedTee(options: SimulatedTeeOptions): Promise<TeeDriver> {
  const platform = await readSimulatedPlatform(options.folder)
  const { product } = platform
  const { productName, chipIdLength, tcb: soundTcb } = simulatedProducts[product]
  const chipId = Uint8Array.from(options.simulate?.chipId ?? platform.chipId)
  const tcb = options.simulate?.tcb ?? soundTcb
  // A real chip derives the VCEK from its fuses and the TCB; here each opening makes one and has it certified.
  const vcek = await generateP384Key()
  const certificate = await issueVek({
    vek: 'vcek',
    claims: { product, productName, tcb, hwId: chipId.slice(0, chipIdLength), provider: undefined },
    spki: spkiOf(vcek),
    sign: certificateSigner(platform.ask.key),
    notBefore: platform.createdAt - day,
    notAfter: platform.createdAt + 7 * 365 * day,
  })
  const certificates = [certificate, platform.ask.certificate, platform.ark.certificate]
  const measurement = simulatedMeasurement(options.measured)
  const report = launchReport(platform, { options, measurement, chipId, tcb: encodeTcb(tcb, product) })
  const identity = { measurement, chipId, debug: report.policy.debug }
  const secret = platform.sealingSecret
  const description: TeeDescription = {
    kind: 'simulated',
    tee: 'sev-snp',
    boundary: 'vm',
    simulated: true,
    measurement: encodeHex(measurement),
    platformId: encodeHex(chipId.subarray(0, chipIdLength)),
  }
  return {
    kind: 'simulated',
    describe: () => description,
    getEvidence: async (reportData) => ({
      entries: [
        {
          role: 'cpu',
          format: 'sev-snp/1',
          report: sign({ ...report, reportData: sized(reportData) }, vcek),
          certificates,
        },
      ],
    }),
    seal: async (label, bytes) => sealSimulated(secret.expose(), identity, label, bytes),
    unseal: async (label, sealed) => unsealSimulated(secret.expose(), identity, label, sealed),
  } satisfies TeeDriver
}

function sized(reportData: Uint8Array): Uint8Array {
  if (reportData.length !== 64) throw new RangeError(`reportData: has ${reportData.length} bytes, expected 64`)
  return reportData
}

function sign(unsigned: SnpReport, vcek: KeyObject): Uint8Array {
  const signed = encodeSnpReport(unsigned).subarray(0, snpSignedLength)
  return encodeSnpReport({ ...unsigned, signature: signReport(vcek, signed) })
}

interface Launch {
  readonly options: SimulatedTeeOptions
  readonly measurement: Uint8Array
  readonly chipId: Uint8Array
  readonly tcb: Uint8Array
}

/** The report of this launch but for report data and signature, with what real machines say today in version 5. */
function launchReport(platform: SimulatedPlatform, { options, measurement, chipId, tcb }: Launch): SnpReport {
  const { simulate = {}, hostData = new Uint8Array(32) } = options
  const firmware = { major: 1, minor: 55, build: 40 }
  return {
    version: 5,
    guestSvn: 0,
    policy: {
      abiMajor: 0,
      abiMinor: 31,
      smt: true,
      migrationAgent: false,
      debug: simulate.debug ?? false,
      singleSocket: false,
      cxlAllowed: false,
      memoryAes256Xts: false,
      raplDisabled: false,
      ciphertextHiding: false,
      pageSwapDisabled: false,
    },
    familyId: new Uint8Array(16),
    imageId: new Uint8Array(16),
    vmpl: simulate.vmpl ?? 0,
    currentTcb: tcb,
    reportedTcb: tcb,
    committedTcb: tcb,
    launchTcb: tcb,
    platformInfo: {
      smt: true,
      tsme: false,
      ecc: true,
      raplDisabled: false,
      ciphertextHiding: false,
      aliasCheckComplete: simulate.withoutAliasCheck !== true,
      iommuWriteSafe: false,
      tio: false,
    },
    authorKeyEnabled: false,
    maskChipKey: false,
    signingKey: 'vcek',
    reportData: new Uint8Array(64),
    measurement,
    hostData,
    idKeyDigest: new Uint8Array(48),
    authorKeyDigest: new Uint8Array(48),
    reportId: randomBytes(32),
    reportIdMa: new Uint8Array(32).fill(0xff),
    cpuid: simulatedProducts[platform.product].cpuid,
    chipId,
    current: firmware,
    committed: firmware,
    launchMitigation: 0n,
    currentMitigation: 0n,
    signature: new Uint8Array(96),
  }
}
