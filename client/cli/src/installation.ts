import type { Json } from '@cella/bytes'
import { digestField, rootField, type Terms } from '@cella/documents'
import {
  type NitroPolicy,
  nitroBaseline,
  type SgxPolicy,
  type SnpPolicy,
  sgxBaseline,
  snpBaseline,
  type TdxPolicy,
  tdxBaseline,
} from '@cella/evidence'
import { z } from 'zod'
import { CliError } from './error.ts'
import { readTextFile } from './files.ts'

/**
 * What `cella up` writes about a server of one's own: enough to trust it, so it is read from one's own disk and never
 * from a manager.
 */
const installationSchema = z.object({
  format: z.literal('cella-installation/1'),
  manager: z.string().max(2048),
  /** A C2SP tlog-policy. */
  logPolicy: z.string().min(1).max(16_384),
  roots: z.array(rootField).min(1).max(16),
  /** Digests of the Build documents. */
  builds: z.object({ vault: z.array(digestField).min(1).max(64), worker: z.array(digestField).min(1).max(64) }),
})
export type Installation = z.infer<typeof installationSchema>

/** Throws ERR_FILE. */
export async function readInstallation(path: string): Promise<Installation> {
  const text = await readTextFile(path)
  const wrong = (problem: string, cause?: unknown): CliError =>
    new CliError(
      'ERR_FILE',
      `${path} is no description of an installation: ${problem}`,
      '`cella up` writes one and says where',
      {
        cause,
      },
    )
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (cause) {
    throw wrong('it is not JSON', cause)
  }
  const parsed = installationSchema.safeParse(json)
  if (parsed.success) return parsed.data
  const issue = parsed.error.issues[0]
  throw wrong(`${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}`)
}

/**
 * The TEEs of an installation as terms accept them. SEV-SNP alone needs no part of its own: that is what terms without
 * `tees` accept.
 */
export function teesOfInstallation({ roots }: Pick<Installation, 'roots'>): Pick<Terms, 'tees' | 'boundaries'> {
  const tees = new Set(roots.map(({ tee }) => tee))
  const boundaries: Terms['boundaries'] = [...(tees.has('sgx') ? ['process' as const] : []), 'vm']
  if ([...tees].every((tee) => tee === 'sev-snp')) return { boundaries }
  const parts: Terms['tees'] = {}
  for (const tee of tees) {
    const part = startingParts[tee]
    if (part === undefined) {
      throw new CliError('ERR_REFUSED', `there are no terms to start from for ${tee}`, 'write them: --file FILE')
    }
    parts[tee] = { ...part }
  }
  return { boundaries, tees: parts }
}

// What no use should go below, for the TEEs that an installation can have. A binding with nonces makes evidence fresh, so
// Nitro's own need no age: a receipt is judged at its own time, which may be long after.
const startingParts: { readonly [tee: string]: NonNullable<NonNullable<Terms['tees']>['tdx']> } = {
  'sev-snp': json({
    ...snpBaseline,
    products: 'any',
    minimumTcb: 'any',
    minimumCommittedTcb: 'any',
    minimumLaunchTcb: 'any',
    vmpls: [0],
  } satisfies SnpPolicy),
  tdx: json(tdxBaseline),
  sgx: json({ ...sgxBaseline, signers: 'any', productIds: 'any' } satisfies SgxPolicy),
  nitro: json({ ...nitroBaseline, nonce: 'any', ageSecondsMax: 'any' } satisfies NitroPolicy),
}

/** As it stands in a document. */
function json(policy: SnpPolicy | TdxPolicy | SgxPolicy | NitroPolicy): { readonly [name: string]: Json } {
  return JSON.parse(JSON.stringify(policy)) as { readonly [name: string]: Json }
}
