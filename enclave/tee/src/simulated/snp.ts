import type { KeyObject } from 'node:crypto'
import { encodeHex } from '@cella/bytes'
import { encodeSnpReport, encodeTcb, issueVek, type SnpReport, snpSignedLength } from '@cella/evidence/sev-snp-issue'
import { randomBytes } from '@cella/primitives'
import type { TeeDescription, TeeDriver } from '../driver.ts'
import { certificateSigner, generateP384Key, signReport, spkiOf } from './keys.ts'
import { readSimulatedLevels } from './levels.ts'
import { simulatedMeasurement } from './measurement.ts'
import { type SimulatedTeeOptions, sizedReportData } from './options.ts'
import { certifiedBefore, readSimulatedPlatform, type SimulatedPlatform } from './platform.ts'
import { raisedTcb, simulatedProducts } from './products.ts'
import { sealSimulated, unsealSimulated } from './sealing.ts'

const day = 86_400

/**
 * Opens the simulated SEV-SNP of `folder` for a process with these measured parts. Its evidence has the vendor's exact
 * format and verifies under the installation's own root alone. Throws TeeError.
 */
export async function openSimulatedSnp(options: SimulatedTeeOptions): Promise<TeeDriver> {
  const platform = await readSimulatedPlatform(options.folder)
  const { product } = platform
  const { productName, chipIdLength, tcb: soundTcb } = simulatedProducts[product]
  const chipId = Uint8Array.from(options.simulate?.chipId ?? platform.chipId)
  const { installed } = await readSimulatedLevels(options.folder)
  const tcb = options.simulate?.tcb ?? raisedTcb(soundTcb, installed.amd)
  // A real chip derives the VCEK from its fuses and the TCB; here each opening makes one and has it certified.
  const vcek = await generateP384Key()
  const certificate = await issueVek({
    vek: 'vcek',
    claims: { product, productName, tcb, hwId: chipId.slice(0, chipIdLength), provider: undefined },
    spki: spkiOf(vcek),
    sign: certificateSigner(platform.ask.key),
    notBefore: platform.createdAt - certifiedBefore,
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
    sealing: 'measurement',
  }
  return {
    kind: 'simulated',
    bindingLength: 64,
    describe: () => description,
    getEvidence: async (reportData) => ({
      entries: [
        {
          role: 'cpu',
          format: 'sev-snp/1',
          report: sign({ ...report, reportData: sizedReportData(reportData) }, vcek),
          certificates,
        },
      ],
    }),
    seal: async (label, bytes) => sealSimulated(secret.expose(), identity, label, bytes),
    unseal: async (label, sealed) => unsealSimulated(secret.expose(), identity, label, sealed),
  } satisfies TeeDriver
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
