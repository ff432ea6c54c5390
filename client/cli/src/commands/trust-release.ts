import { createPublicKey } from 'node:crypto'
import { type Build, DocumentError, parseDocumentOf, verifyDocument } from '@cella/documents'
import {
  type AppraisalPolicy,
  type CorimNames,
  EvidenceError,
  type ReferenceValue,
  referenceValuesOfCorim,
  verifyCorim,
} from '@cella/evidence'
import { keyIdOf } from '@cella/primitives'
import { z } from 'zod'
import { CliError, UsageError } from '../error.ts'
import { readBytesFile, readJsonFile } from '../files.ts'

const releaseBytesMax = 1_048_576

export interface ReleaseFlags {
  readonly release: string
  readonly signer?: string[]
  readonly names?: string
}

/** Values as a policy lists them. */
export type ReferenceValues = readonly (string | ReferenceValue)[]

/**
 * The reference values of a signed release: a Build document of Cella, or a signed CoRIM. Only what one of `--signer`
 * signed is taken; whether a key may say what is good is the caller's to know.
 */
export async function releaseValues(
  { release, signer = [], names }: ReleaseFlags,
  policy: AppraisalPolicy,
  now: number,
): Promise<ReferenceValues> {
  if (signer.length === 0) throw new UsageError('--signer is missing', 'the public key of who may release, PEM or DER')
  const signers = await Promise.all(signer.map(publicKeyFile))
  const bytes = await readBytesFile(release, releaseBytesMax)
  try {
    if (bytes[0] === 0x7b) return await buildValues(new TextDecoder().decode(bytes).trim(), signers, policy)
    if (names === undefined) {
      throw new UsageError('--names is missing', 'a CoRIM names things its own way: cella evidence trust --help')
    }
    return referenceValuesOfCorim(await verifyCorim(bytes, { signers, now }), await namesFile(names))
  } catch (cause) {
    if (!(cause instanceof EvidenceError || cause instanceof DocumentError)) throw cause
    throw new CliError('ERR_REFUSED', `${release}: ${cause.message}`, 'nothing of it was taken', { cause })
  }
}

async function buildValues(
  envelope: string,
  signers: readonly Uint8Array[],
  policy: AppraisalPolicy,
): Promise<ReferenceValues> {
  const keys = new Map(signers.flatMap((spki) => ed25519Of(spki)).map((key) => [keyIdOf(key), key]))
  const { payload } = await verifyDocument(parseDocumentOf('cella/build', envelope), (signer) => keys.get(signer))
  const fitting = payload.measurements.filter(
    ({ tee, boundary, simulated }) =>
      Object.hasOwn(policy.tees, tee) &&
      (policy.boundaries === 'any' || policy.boundaries.includes(boundary)) &&
      (!simulated || policy.simulated === 'any'),
  )
  if (fitting.length === 0) {
    const named = payload.measurements.map(({ tee, simulated }) => (simulated ? `${tee} (simulated)` : tee))
    throw new CliError(
      'ERR_REFUSED',
      `the release measures ${named.join(', ')}; the policy takes ${Object.keys(policy.tees).join(', ')}`,
      'start from a policy for one of these',
    )
  }
  return fitting.map(referenceOf)
}

function referenceOf({
  tee,
  measurement,
  registers,
  hostData,
}: Build['measurements'][number]): string | ReferenceValue {
  // One list of host data for all values would let each go with another's.
  if (hostData !== undefined) {
    const hint = 'write hostData and the measurement into a policy of its own'
    throw new CliError('ERR_REFUSED', `the release demands host data ${hostData} of ${tee}`, hint)
  }
  return registers === undefined ? measurement : { measurements: registers, notBefore: 'any', notAfter: 'any' }
}

const ed25519Prefix = Buffer.from('302a300506032b6570032100', 'hex')

function ed25519Of(spki: Uint8Array): readonly Uint8Array[] {
  return spki.length === 44 && ed25519Prefix.equals(spki.subarray(0, 12)) ? [spki.slice(12)] : []
}

async function publicKeyFile(path: string): Promise<Uint8Array> {
  const bytes = Buffer.from(await readBytesFile(path, 16_384))
  try {
    const key = createPublicKey(bytes[0] === 0x30 ? { key: bytes, format: 'der', type: 'spki' } : bytes)
    return new Uint8Array(key.export({ format: 'der', type: 'spki' }))
  } catch (cause) {
    throw new CliError('ERR_FILE', `${path} is no public key`, 'PEM (PUBLIC KEY) or DER', { cause })
  }
}

const namesSchema: z.ZodType<CorimNames> = z.strictObject({
  elements: z.record(z.string(), z.string()),
  registers: z.string(),
  hash: z.enum(['sha-256', 'sha-384', 'sha-512']),
})

async function namesFile(path: string): Promise<CorimNames> {
  const parsed = namesSchema.safeParse(await readJsonFile(path))
  if (parsed.success) return parsed.data
  const hint = '{"elements": {"KEY": "mrtd"}, "registers": "rtmr", "hash": "sha-384"}'
  throw new CliError('ERR_FILE', `${path} does not say what a CoRIM’s names stand for`, hint)
}
