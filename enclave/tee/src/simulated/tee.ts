import { concatBytes, encodeHex, encodeUtf8 } from '@cella/bytes'
import type { Boundary, Endorsement, EvidenceEntry } from '@cella/evidence'
import { sha384, sha512 } from '@cella/primitives'
import type { TeeDescription, TeeDriver } from '../driver.ts'
import { openQuotingEnclave, simulatedIntelCollateral } from './intel.ts'
import { readSimulatedLevels } from './levels.ts'
import { simulatedMeasurement, simulatedMrEnclave } from './measurement.ts'
import { openSecurityModule } from './nitro.ts'
import { type SimulatedTee, type SimulatedTeeOptions, sizedReportData } from './options.ts'
import { readSimulatedPlatform, type SimulatedPlatform } from './platform.ts'
import { sealSimulated, unsealSimulated } from './sealing.ts'
import { openSimulatedSnp } from './snp.ts'
import { openSimulatedVendors, type SimulatedVendors } from './vendors.ts'

/**
 * Opens the simulated TEE of `folder` for a process with these measured parts. Its evidence has the vendor's exact
 * format, with the vendor's collateral where there is some, and verifies under the installation's own roots alone.
 * Throws TeeError; RangeError for a fault or host data that this kind of hardware does not have.
 */
export async function openSimulatedTee(options: SimulatedTeeOptions): Promise<TeeDriver> {
  const { tee = 'sev-snp' } = options
  refuseForeignParts(tee, options)
  switch (tee) {
    case 'sev-snp':
      return openSimulatedSnp(options)
    case 'tdx':
    case 'sgx':
      return openIntel(tee, options)
    case 'nitro':
      return openNitro(options)
    default:
      tee satisfies never
      throw new TypeError(`tee: ${String(tee)} is not simulated here`)
  }
}

async function openIntel(tee: 'tdx' | 'sgx', options: SimulatedTeeOptions): Promise<TeeDriver> {
  const { platform, vendors } = await open(options.folder)
  const { installed } = await readSimulatedLevels(options.folder)
  const measurement = tee === 'sgx' ? simulatedMrEnclave(options.measured) : simulatedMeasurement(options.measured)
  const debug = options.simulate?.debug ?? false
  const quote = await openQuotingEnclave(tee, vendors, {
    measurement,
    debug,
    level: installed.intel,
    hostData: options.hostData,
  })
  return driverOf(platform, {
    tee,
    boundary: tee === 'sgx' ? 'process' : 'vm',
    measurement,
    platformId: encodeHex(vendors.intel.ppid),
    debug,
    attest: async (reportData) => {
      const entry = { role: 'cpu' as const, format: `${tee}/1`, quote: await quote(reportData) }
      if (options.simulate?.withoutCollateral) return { entry, endorsements: [] }
      // Read each time: a vendor publishes while machines run.
      const levels = await readSimulatedLevels(options.folder)
      return { entry, endorsements: await simulatedIntelCollateral(tee, vendors, levels, clock(options)) }
    },
  })
}

async function openNitro(options: SimulatedTeeOptions): Promise<TeeDriver> {
  const { platform, vendors } = await open(options.folder)
  const measurement = simulatedMeasurement(options.measured)
  const debug = options.simulate?.debug ?? false
  const document = await openSecurityModule(vendors, { measurement, debug })
  return driverOf(platform, {
    tee: 'nitro',
    boundary: 'vm',
    measurement,
    platformId: vendors.nitro.instanceId,
    debug,
    attest: async (userData) => ({
      entry: { role: 'cpu', format: 'nitro/1', document: await document(userData, clock(options)) },
      endorsements: [],
    }),
  })
}

interface Simulation {
  readonly tee: SimulatedTee
  readonly boundary: Boundary
  readonly measurement: Uint8Array
  readonly platformId: string
  readonly debug: boolean
  attest(
    reportData: Uint8Array,
  ): Promise<{ readonly entry: EvidenceEntry & object; readonly endorsements: readonly Endorsement[] }>
}

function driverOf(platform: SimulatedPlatform, simulation: Simulation): TeeDriver {
  const { tee, boundary, measurement, platformId, debug } = simulation
  // Of fixed lengths, as SNP's: what one kind of hardware sealed, another can't open.
  const identity = {
    measurement: sha384(concatBytes(encodeUtf8(`${tee}\u0000`), measurement)),
    chipId: sha512(encodeUtf8(platformId)),
    debug,
  }
  const secret = platform.sealingSecret
  const description: TeeDescription = {
    kind: 'simulated',
    tee,
    boundary,
    simulated: true,
    measurement: encodeHex(measurement),
    platformId,
    sealing: 'measurement',
  }
  return {
    kind: 'simulated',
    bindingLength: 64,
    describe: () => description,
    async getEvidence(reportData) {
      const { entry, endorsements } = await simulation.attest(sizedReportData(reportData))
      return endorsements.length === 0 ? { entries: [entry] } : { entries: [entry], endorsements }
    },
    seal: async (label, bytes) => sealSimulated(secret.expose(), identity, label, bytes),
    unseal: async (label, sealed) => unsealSimulated(secret.expose(), identity, label, sealed),
  }
}

async function open(folder: string): Promise<{ platform: SimulatedPlatform; vendors: SimulatedVendors }> {
  return { platform: await readSimulatedPlatform(folder), vendors: await openSimulatedVendors(folder) }
}

function clock({ now }: SimulatedTeeOptions): number {
  return now === undefined ? Math.floor(Date.now() / 1000) : Math.floor(now())
}

const snpFaults = ['tcb', 'chipId', 'vmpl', 'withoutAliasCheck'] as const

function refuseForeignParts(tee: SimulatedTee, { simulate = {}, hostData }: SimulatedTeeOptions): void {
  const foreign = tee === 'sev-snp' ? (['withoutCollateral'] as const) : snpFaults
  const fault = foreign.find((name) => simulate[name] !== undefined)
  if (fault !== undefined) throw new RangeError(`simulate.${fault}: ${tee} has no such fault`)
  if (tee === 'nitro' && simulate.withoutCollateral !== undefined) {
    throw new RangeError('simulate.withoutCollateral: nitro has no collateral')
  }
  if (hostData === undefined) return
  if (tee === 'nitro') throw new RangeError('hostData: nitro has no such field')
  if (hostData.length !== 32) throw new RangeError(`hostData: has ${hostData.length} bytes, expected 32`)
}
