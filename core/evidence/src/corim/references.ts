import type { Digest } from '@cella/bytes'
import { digestOf } from '@cella/primitives'
import type { ArmSoftwareReference } from '../arm/policy.ts'
import type { Endorsement } from '../endorsements.ts'
import { EvidenceError } from '../error.ts'
import type { ReferenceValue } from '../policy.ts'
import type { CorimReference } from './comid.ts'
import type { Corim } from './corim.ts'
import type { CorimDigest, CorimMeasurement } from './values.ts'

/** How a CoRIM's names become those of `claims.measurements`. */
export interface CorimNames {
  /** By the key of a measured element (`''` for an element without one): the name of the register, `mrtd`. */
  readonly elements: { readonly [key: string]: string }
  /** What stands before the number of an integrity register: `pcr`, `rtmr`. */
  readonly registers: string
  /** Which of several digests of one element counts. */
  readonly hash: 'sha-256' | 'sha-384' | 'sha-512'
}

/**
 * `measurements` for a policy: a tuple for each reference triple, with the manifest's window. Throws
 * ERR_EVIDENCE_UNSUPPORTED for an element that `names` doesn't know, that has no digest of its hash, or that asks for
 * more than digests; and where a triple names one register twice, since a tuple has one value for each.
 */
export function referenceValuesOfCorim(corim: Corim, names: CorimNames): ReferenceValue[] {
  return corim.references.map(({ measurements }) => {
    const tuple = new Map<string, string>()
    for (const measurement of measurements) {
      const { digests, registers, key } = measurement
      const plain = measurement.version ?? measurement.svn ?? measurement.rawValue ?? measurement.name
      if (plain !== null || measurement.cryptoKeys.length > 0)
        throw unsupported(corim, key, 'asks for more than digests')
      if (digests.length > 0) {
        const name = Object.hasOwn(names.elements, key ?? '') ? names.elements[key ?? '']! : undefined
        if (name === undefined) throw unsupported(corim, key, 'is not one of the elements that were named')
        add(tuple, name, digestBy(digests, names.hash, corim, key), corim)
      }
      for (const [register, values] of Object.entries(registers)) {
        const name = /^[0-9]+$/.test(register) ? `${names.registers}${register}` : register.toLowerCase()
        add(tuple, name, digestBy(values, names.hash, corim, register), corim)
      }
    }
    return { measurements: Object.fromEntries(tuple), notBefore: corim.notBefore, notAfter: corim.notAfter }
  })
}

function add(tuple: Map<string, string>, name: string, value: string, corim: Corim): void {
  if (tuple.has(name)) throw unsupported(corim, name, 'is named twice in one triple')
  tuple.set(name, value)
}

function digestBy(digests: readonly CorimDigest[], hash: string, corim: Corim, key: string | null): string {
  const found = digests.filter(({ algorithm }) => algorithm === hash)
  if (found.length !== 1) throw unsupported(corim, key, `has ${found.length} digests by ${hash}, expected one`)
  return found[0]!.value
}

/** What a manifest says about the firmware of one Arm design, for `tees.cca` or `tees.psa`, and its devices' keys. */
export interface ArmReferences {
  readonly implementationIds: readonly [string]
  readonly software: readonly ArmSoftwareReference[]
  /** CCA alone; `any` where the manifest names none. */
  readonly configs: readonly string[] | 'any'
  readonly deviceKeys: readonly CorimDeviceKey[]
}

interface CorimDeviceKey {
  /** In hexadecimal, 33 bytes. */
  readonly instanceId: string | null
  /** For the endorsements. */
  readonly endorsement: Endorsement
  /** For a TrustedRoot, if the relying party trusts the manifest's author for keys. */
  readonly spki: Digest
}

// draft-ydb-rats-cca-endorsements and draft-fdb-rats-psa-endorsements.
const armProfiles = {
  cca: {
    profile: 'tag:arm.com,2025:cca_platform#1.0.0',
    software: 'cca.software-component',
    config: 'cca.platform-config',
  },
  psa: { profile: 'tag:arm.com,2025:psa#1.0.0', software: 'psa.software-component', config: undefined },
} as const

/**
 * What `corim` says about the implementation `implementationId` (32 bytes in hexadecimal). Statements about others are
 * left out, so that no firmware of one counts for another. Throws ERR_EVIDENCE_UNSUPPORTED for another profile or for an
 * element that is not read, ERR_EVIDENCE_COLLATERAL_MISSING where it says nothing about that implementation.
 */
export function armReferencesOfCorim(
  corim: Corim,
  { tee, implementationId }: { readonly tee: 'cca' | 'psa'; readonly implementationId: string },
): ArmReferences {
  const { profile, software, config } = armProfiles[tee]
  checkProfile(corim, profile)
  const concerns = ({ environment }: Pick<CorimReference, 'environment'>): boolean =>
    environment.classId?.kind === 'bytes' && environment.classId.value === implementationId
  const measurements = corim.references.filter(concerns).flatMap((reference) => {
    // A device of its own may have firmware of its own, which must not count for the others.
    if (reference.environment.instance !== null)
      throw unsupported(corim, reference.environment.instance, 'is one device')
    return reference.measurements
  })
  const keys = corim.attestKeys.filter(concerns)
  if (measurements.length === 0 && keys.length === 0) {
    throw new EvidenceError(
      'ERR_EVIDENCE_COLLATERAL_MISSING',
      `CoRIM ${corim.id}: says nothing about the implementation ${implementationId}`,
    )
  }
  const configs = measurements.filter(({ key }) => config !== undefined && key === config)
  return {
    implementationIds: [implementationId],
    software: measurements
      .filter((measurement) => !configs.includes(measurement))
      .map((measurement) => {
        if (measurement.key !== software) throw unsupported(corim, measurement.key, 'is not read')
        return softwareReference(measurement, corim)
      }),
    configs: configs.length === 0 ? 'any' : configs.map((measurement) => rawValueOf(measurement, corim)),
    deviceKeys: keys.flatMap(({ environment, keys: spkis }) =>
      spkis.map((spki) => ({
        instanceId: environment.instance,
        endorsement: { kind: 'public-key' as const, content: spki },
        spki: digestOf(spki),
      })),
    ),
  }
}

function softwareReference(measurement: CorimMeasurement, corim: Corim): ArmSoftwareReference {
  const { key, digests, name, version, cryptoKeys } = measurement
  if (!asksOnlyFor(measurement, 'digests', 'name', 'version', 'cryptoKeys')) {
    throw unsupported(corim, key, 'asks for more than digests, name, version and signers')
  }
  const known = digests.filter(({ algorithm }) => algorithm !== 'other')
  if (known.length === 0) throw unsupported(corim, key, 'has no digest by SHA-256, SHA-384 or SHA-512')
  return {
    type: name,
    measurements: known.map(({ value }) => value),
    signerIds: cryptoKeys.length === 0 ? 'any' : cryptoKeys,
    versions: version === null ? 'any' : [version],
  }
}

/** What a manifest says about realms: `measurements` and `hostData` of a policy. */
export interface RealmReferences {
  readonly measurements: readonly ReferenceValue[]
  /** The personalisation that they have in common; `any` where none is named. */
  readonly hostData: readonly [string] | 'any'
}

const realmProfile = 'tag:arm.com,2025:cca_realm#1.0.0'
const realmElements: readonly string[] = ['rim', 'rem0', 'rem1', 'rem2', 'rem3']

/** The realms of a manifest: RIM and those of the REMs that it names, personalisation. Throws as the others do. */
export function realmReferencesOfCorim(corim: Corim): RealmReferences {
  checkProfile(corim, realmProfile)
  const personalisations = new Set<string | undefined>()
  const measurements = corim.references.map(({ measurements }) => {
    const tuple = new Map<string, string>()
    let personalisation: string | undefined
    for (const measurement of measurements) {
      const { key, digests } = measurement
      if (key === 'cca.rpv') {
        if (personalisation !== undefined) throw unsupported(corim, key, 'is named twice in one triple')
        personalisation = rawValueOf(measurement, corim)
        continue
      }
      const name = key?.startsWith('cca.') ? key.slice(4) : undefined
      if (name === undefined || !realmElements.includes(name)) throw unsupported(corim, key, 'is not read')
      if (!asksOnlyFor(measurement, 'digests')) throw unsupported(corim, key, 'asks for more than digests')
      const known = digests.filter(({ algorithm }) => algorithm !== 'other')
      if (known.length !== 1) throw unsupported(corim, key, `has ${known.length} digests, expected one`)
      add(tuple, name, known[0]!.value, corim)
    }
    if (!tuple.has('rim')) throw unsupported(corim, 'cca.rim', 'is missing, so any code would do')
    personalisations.add(personalisation)
    return { measurements: Object.fromEntries(tuple), notBefore: corim.notBefore, notAfter: corim.notAfter }
  })
  if (personalisations.size > 1) throw unsupported(corim, 'cca.rpv', 'differs from triple to triple')
  const [personalisation] = personalisations
  return { measurements, hostData: personalisation === undefined ? 'any' : [personalisation] }
}

function rawValueOf(measurement: CorimMeasurement, corim: Corim): string {
  const { key, rawValue } = measurement
  if (rawValue === null || !asksOnlyFor(measurement, 'rawValue'))
    throw unsupported(corim, key, 'is not a raw value alone')
  return rawValue
}

/** Whether nothing but `member` is asked for. */
function asksOnlyFor(measurement: CorimMeasurement, ...members: readonly (keyof CorimMeasurement)[]): boolean {
  return Object.entries(measurement).every(([name, value]) => {
    const absent = value === null || (typeof value === 'object' && Object.keys(value).length === 0)
    return name === 'key' || absent || members.some((member) => member === name)
  })
}

function checkProfile(corim: Corim, profile: string): void {
  if (corim.profile !== profile) {
    throw new EvidenceError(
      'ERR_EVIDENCE_UNSUPPORTED',
      `CoRIM ${corim.id}: is of the profile ${corim.profile ?? 'none'}, expected ${profile}`,
    )
  }
}

function unsupported(corim: Corim, key: string | null, why: string): EvidenceError {
  return new EvidenceError('ERR_EVIDENCE_UNSUPPORTED', `CoRIM ${corim.id}: ${key ?? 'an element without a key'} ${why}`)
}
