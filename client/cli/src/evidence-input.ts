import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { decodeBase64url, decodeHex, FormatError, type Json, parseCanonicalJson } from '@cella/bytes'
import { type CollateralStore, openCollateralDatabase, openCollateralFolder } from '@cella/collateral'
import { bytesField } from '@cella/documents'
import {
  type AppraisalPolicy,
  appraisalPolicyJson,
  cmwOfEvidence,
  collateralBytesMax,
  type Endorsement,
  Endorsements,
  type Evidence,
  EvidenceError,
  encodeCmw,
  encodeEvidence,
  type IbmSeRequest,
  ibmSeAdditions,
  parseAppraisalPolicy,
  presets,
  type RecognisedEvidence,
  readCollateral,
  recogniseEvidence,
  type TrustedRoot,
  type VerifyOptions,
  vendorRoots,
} from '@cella/evidence'
import { type Command, Option } from 'commander'
import { z } from 'zod'
import type { Context } from './context.ts'
import { CliError, UsageError } from './error.ts'
import { readBytesFile, readJsonFile, writeNewFile } from './files.ts'
import { collect, parseTime } from './options.ts'

// What commands about evidence are given: files of evidence, policies, roots and collateral.

const evidenceFileMax = 4_194_304

/** How evidence in a file is to be judged: shared by every command that reads one. */
export interface EvidenceFlags {
  readonly certificate?: string[]
  readonly collateral?: string[]
  readonly collateralDatabase?: string
  readonly root?: string[]
  readonly request?: string[]
  readonly at?: string
}

export interface PolicyFlags extends EvidenceFlags {
  readonly policy: string
  readonly reportData?: string
  readonly binding?: string
}

export function evidenceOptions(command: Command): Command {
  return command
    .option('--certificate <file>', 'a certificate that the evidence lacks, PEM or DER; may be repeated', collect)
    .option('--collateral <path>', 'a folder, bundle or file of collateral beside your own; may be repeated', collect)
    .option('--collateral-database <url>', 'a PostgreSQL that verifiers share, in place of your own collateral')
    .option(
      '--root <file>',
      'JSON list of roots to trust beside the vendors’ and your anchors’; may be repeated',
      collect,
    )
    .option('--request <file>', 'secrets of an IBM Secure Execution request of yours; may be repeated', collect)
    .option('--at <time>', 'judge as of this moment, in place of now')
}

export function policyOptions(command: Command): Command {
  return evidenceOptions(command)
    .requiredOption('--policy <policy>', `a policy file, or a preset: ${presets.map(({ name }) => name).join(', ')}`)
    .option('--report-data <hex>', 'the bytes that the evidence has to carry, in place of the policy’s')
    .option('--binding <file>', 'the JSON whose digest the evidence has to carry, in place of the policy’s')
}

/** Runs `use` on the collateral of this profile, or on a database that several verifiers share. */
export async function withCollateral<T>(
  context: Context,
  database: string | undefined,
  use: (store: CollateralStore) => Promise<T>,
): Promise<T> {
  const { folder } = await context.home()
  const own = () => openCollateralFolder(join(folder, 'collateral'))
  const store = database === undefined ? own() : await openCollateralDatabase(database)
  try {
    return await use(store)
  } finally {
    await store.close()
  }
}

export async function recognisedFile(file: string, flags: EvidenceFlags): Promise<RecognisedEvidence> {
  const bytes = await readBytesFile(file, evidenceFileMax)
  const certificates = await Promise.all((flags.certificate ?? []).map((path) => readBytesFile(path, 65_536)))
  return recogniseEvidence(bytes, certificates)
}

export async function verifyOptions(context: Context, flags: EvidenceFlags): Promise<VerifyOptions> {
  const own = await withCollateral(context, flags.collateralDatabase, (store) => store.pieces())
  const given: Endorsement[] = [...own]
  for (const path of flags.collateral ?? []) {
    const isFolder = (await stat(path).catch(() => undefined))?.isDirectory() === true
    given.push(...(isFolder ? await openCollateralFolder(path).pieces() : await collateralFile(path)))
  }
  const home = await context.home()
  const { roots } = await home.anchors()
  const more = await Promise.all((flags.root ?? []).map(rootsFile))
  return {
    roots: [...vendorRoots, ...roots, ...more.flat()],
    endorsements: new Endorsements(given),
    requests: await Promise.all((flags.request ?? []).map(requestFile)),
    now: nowOf(flags),
  }
}

const requestSchema = z.strictObject({
  measurementKey: bytesField({ exactly: 64 }),
  nonce: bytesField({ exactly: 16 }),
  additions: z.array(z.enum(ibmSeAdditions)).max(ibmSeAdditions.length),
})

/** What `pvattest create` drew for one request: docs/formats/evidence-ibm-se.md. */
async function requestFile(path: string): Promise<IbmSeRequest> {
  const parsed = requestSchema.safeParse(await readJsonFile(path))
  // The reason may hold the key.
  if (!parsed.success) {
    const hint = '{"measurementKey": base64url of 64 bytes, "nonce": of 16, "additions": ["attestation-host-key", …]}'
    throw new CliError('ERR_FILE', `${path} is not the secrets of a request`, hint)
  }
  const { measurementKey, nonce, additions } = parsed.data
  return { measurementKey: decodeBase64url(measurementKey, path), nonce: decodeBase64url(nonce, path), additions }
}

/** The form of a wrapper, where one is wanted. */
export const cmwOption: Option = new Option('--cmw <form>', 'in a RATS conceptual message wrapper').choices([
  'json',
  'cbor',
])

export type CmwForm = 'json' | 'cbor'

/** Evidence in Cella's own form, or in a wrapper that says so. */
export async function writeEvidence(path: string, evidence: Evidence, cmw: CmwForm | undefined): Promise<void> {
  const bytes = cmw === undefined ? encodeEvidence(evidence) : encodeCmw(cmwOfEvidence(evidence), cmw)
  await writeNewFile(path, bytes, { mode: 0o644, hint: 'choose another name' })
}

export async function collateralFile(path: string): Promise<readonly Endorsement[]> {
  try {
    return readCollateral(await readBytesFile(path, collateralBytesMax))
  } catch (cause) {
    if (!(cause instanceof EvidenceError)) throw cause
    throw new CliError('ERR_FILE', `${path}: ${cause.message}`, 'see docs/formats/collateral.md', { cause })
  }
}

async function rootsFile(path: string): Promise<TrustedRoot[]> {
  const value = await readJsonFile(path)
  const sound =
    Array.isArray(value) &&
    value.every(
      (root) =>
        typeof root?.tee === 'string' && /^[0-9a-f]{64}$/.test(root?.spki) && typeof root?.simulated === 'boolean',
    )
  if (!sound) {
    throw new CliError(
      'ERR_FILE',
      `${path} is not a list of roots`,
      '[{"tee": "tdx", "spki": SHA-256 of the SubjectPublicKeyInfo, "simulated": false}]',
    )
  }
  return value as TrustedRoot[]
}

export function nowOf({ at }: EvidenceFlags): number {
  return at === undefined ? Math.floor(Date.now() / 1000) : parseTime(at, 'start')
}

export async function policyOf(flags: {
  policy: string
  reportData?: string
  binding?: string
}): Promise<AppraisalPolicy> {
  const preset = presets.find(({ name }) => name === flags.policy)
  const policy = preset?.policy ?? (await policyFile(flags.policy))
  if (flags.reportData !== undefined && flags.binding !== undefined) {
    throw new UsageError('--report-data and --binding say the same thing', 'give one of them')
  }
  if (flags.reportData !== undefined) {
    try {
      return { ...policy, reportData: decodeHex(flags.reportData, '--report-data') }
    } catch (cause) {
      if (!(cause instanceof FormatError)) throw cause
      throw new UsageError(cause.message, 'bytes in lower-case hexadecimal', { cause })
    }
  }
  if (flags.binding === undefined) return policy
  const binding = parseCanonicalJson(await readBytesFile(flags.binding, 65_536), flags.binding, 65_536)
  return { ...policy, reportData: { binding: binding as { readonly [name: string]: Json } } }
}

async function policyFile(path: string): Promise<AppraisalPolicy> {
  const value = (await readJsonFile(path)) as Json
  try {
    return parseAppraisalPolicy(value)
  } catch (cause) {
    if (!(cause instanceof EvidenceError)) throw cause
    throw new CliError('ERR_FILE', `${path}: ${cause.message}`, 'see docs/formats/attestation-policy.md', { cause })
  }
}

export async function writePolicy(path: string, policy: AppraisalPolicy): Promise<void> {
  const text = `${JSON.stringify(appraisalPolicyJson(policy), undefined, 2)}\n`
  await writeNewFile(path, text, { mode: 0o644, hint: 'choose another name' })
}
