import {
  type Attempt,
  type EvidenceSource,
  type Probe,
  type SourceDriver,
  type SourceName,
  sourceNames,
} from './source.ts'

/** What was looked for and what was there, as plain JSON. */
export interface ProbeReport {
  /** The source that is used: the first one found. */
  readonly chosen: SourceName | null
  readonly drivers: readonly {
    readonly name: SourceName
    readonly title: string
    /** `not-looked-for`: this build does not have the driver. */
    readonly outcome: 'chosen' | 'found' | 'absent' | 'not-looked-for'
    /** Why it is not used, or what it was preferred to; null for the chosen one. */
    readonly why: string | null
    readonly attempts: readonly Attempt[]
  }[]
}

export interface ProbeResult {
  readonly source: EvidenceSource | undefined
  readonly report: ProbeReport
}

/**
 * Looks for every source that `drivers` know and takes the first one found, in the order of `sourceNames`. Never
 * throws: a driver that fails is reported as absent, with its reason.
 */
export async function probeSources(drivers: readonly SourceDriver[]): Promise<ProbeResult> {
  const probes = new Map(
    await Promise.all(
      drivers.map(async (driver): Promise<[SourceName, Probe]> => [driver.name, await probeOne(driver)]),
    ),
  )
  const source = sourceNames.map((name) => probes.get(name)?.source).find((found) => found !== undefined)
  return {
    source,
    report: {
      chosen: source?.name ?? null,
      drivers: sourceNames.map((name) => {
        const driver = drivers.find((one) => one.name === name)
        const probe = probes.get(name)
        if (driver === undefined || probe === undefined) {
          return { name, title: name, outcome: 'not-looked-for', why: 'this build has no driver for it', attempts: [] }
        }
        const { title } = driver
        const { attempts } = probe
        if (probe.source === undefined) return { name, title, outcome: 'absent', why: probe.why, attempts }
        if (probe.source === source) return { name, title, outcome: 'chosen', why: null, attempts }
        return { name, title, outcome: 'found', why: `${source?.name} is more direct`, attempts }
      }),
    },
  }
}

async function probeOne(driver: SourceDriver): Promise<Probe> {
  try {
    return await driver.probe()
  } catch (error) {
    return { source: undefined, attempts: [], why: (error as Error).message }
  }
}
