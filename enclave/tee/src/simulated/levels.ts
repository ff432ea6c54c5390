import { join } from 'node:path'
import { canonicalJson, FormatError, type Json, parseCanonicalJson } from '@cella/bytes'
import { TeeError } from '../error.ts'
import { fields, readPrivate, writeOver } from './folder.ts'

// How current the simulated machine is, and what its vendors demand: what a TCB recovery changes. Two steps, as in life:
// the vendor publishes a level (machines below it become OutOfDate), and the machine's owner installs it.

const fileName = 'simulated-levels.json'
const fileBytesMax = 16_384
const levelCountMax = 64

/** AMD rates nothing: its level is the firmware of the machine, and the relying party's policy names the minimum. */
export type SimulatedVendor = 'amd' | 'intel'

/** Keys whose certificates a vendor has revoked. */
const simulatedRevocations = ['ask', 'pck', 'pck-ca'] as const
export type SimulatedRevocation = (typeof simulatedRevocations)[number]

export interface SimulatedLevels {
  /** What the machine runs, from 1. */
  readonly installed: { readonly [vendor in SimulatedVendor]: number }
  /** When each further level of Intel's was published, unix seconds; level 1 came with the platform. */
  readonly published: readonly number[]
  readonly revoked: readonly SimulatedRevocation[]
}

const first: SimulatedLevels = { installed: { amd: 1, intel: 1 }, published: [], revoked: [] }

/** The levels of the platform in `folder`; the first ones where nothing was ever raised. Throws TeeError. */
export async function readSimulatedLevels(folder: string): Promise<SimulatedLevels> {
  try {
    return await readPrivate(join(folder, fileName), fileBytesMax, parseLevels)
  } catch (error) {
    const absent = error instanceof TeeError && (error.cause as NodeJS.ErrnoException | undefined)?.code === 'ENOENT'
    if (absent) return first
    throw error
  }
}

/** One step of a rehearsal. `publish`: Intel's new level. `install`: the machine's firmware, one level up. */
export type SimulatedStep =
  | { readonly publish: 'intel' }
  | { readonly install: SimulatedVendor }
  | { readonly revoke: SimulatedRevocation }

/**
 * Takes a step and returns the levels after it. Enclaves show them from their next opening on, collateral at once. One
 * caller at a time. Throws RangeError for a level of Intel's that is not published, TeeError.
 */
export async function stepSimulatedLevels(
  folder: string,
  step: SimulatedStep,
  now: number = Date.now() / 1000,
): Promise<SimulatedLevels> {
  const before = await readSimulatedLevels(folder)
  const after = afterStep(before, step, Math.floor(now))
  const { installed, published, revoked } = after
  await writeOver(
    join(folder, fileName),
    canonicalJson({ version: 1, installed: { ...installed }, published: [...published], revoked: [...revoked] }),
  )
  return after
}

function afterStep(levels: SimulatedLevels, step: SimulatedStep, now: number): SimulatedLevels {
  if ('revoke' in step) return { ...levels, revoked: [...new Set([...levels.revoked, step.revoke])] }
  if ('publish' in step) {
    if (levels.published.length + 1 >= levelCountMax) throw new RangeError(`publish: at most ${levelCountMax} levels`)
    return { ...levels, published: [...levels.published, now] }
  }
  const next = levels.installed[step.install] + 1
  if (step.install === 'intel' && next > levels.published.length + 1) {
    throw new RangeError(`install: level ${next} of Intel’s is not published`)
  }
  if (next > levelCountMax) throw new RangeError(`install: at most ${levelCountMax} levels`)
  return { ...levels, installed: { ...levels.installed, [step.install]: next } }
}

function parseLevels(bytes: Uint8Array): SimulatedLevels {
  const file = fields(parseCanonicalJson(bytes, 'levels', fileBytesMax), [
    'installed',
    'published',
    'revoked',
    'version',
  ])
  if (file.version !== 1) throw new FormatError('version', 'is not 1')
  const { amd, intel } = fields(file.installed!, ['amd', 'intel'])
  const published = list(file.published!, 'published').map((time) => whole(time, 'published', 0, 2 ** 40))
  const revoked = list(file.revoked!, 'revoked').map((name) => {
    const known = simulatedRevocations.find((one) => one === name)
    if (known === undefined) throw new FormatError('revoked', 'has an unknown name')
    return known
  })
  return {
    installed: { amd: whole(amd!, 'amd', 1, levelCountMax), intel: whole(intel!, 'intel', 1, published.length + 1) },
    published,
    revoked,
  }
}

function list(value: Json, field: string): readonly Json[] {
  if (!Array.isArray(value) || value.length > levelCountMax) throw new FormatError(field, 'is not a list')
  return value
}

function whole(value: Json, field: string, min: number, max: number): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < min || value > max) {
    throw new FormatError(field, `is not a whole number of ${min} to ${max}`)
  }
  return value
}
