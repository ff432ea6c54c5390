import type { Json } from '@cella/bytes'
import type { Invitation, Terms } from '@cella/documents'
import {
  type NitroPolicy,
  nitroBaseline,
  type SgxPolicy,
  type SnpPolicy,
  sgxBaseline,
  snpRehearsal,
  type TdxPolicy,
  tdxBaseline,
} from '@cella/evidence'
import { SdkError } from './error.ts'
import type { TermsDraft } from './organisations.ts'

/** What an installation runs, under which roots and in which log. */
export type InstallationTerms = Pick<Invitation, 'roots' | 'builds' | 'log'>

/** Terms that accept an installation as it is: its builds, roots, log and witnesses, and nothing else. */
export function termsFor(installation: InstallationTerms): TermsDraft {
  const { roots, builds, log } = installation
  return {
    vault: { builds: [...builds.vault], signers: [] },
    worker: { builds: [...builds.worker], signers: [] },
    ...(builds.attestationService && { attestationService: { builds: [...builds.attestationService], signers: [] } }),
    ...(builds.logSigner && { logSigner: { builds: [...builds.logSigner], signers: [] } }),
    roots: [...roots],
    simulated: roots.some(({ simulated }) => simulated),
    minimumTcb: 'any',
    ...teesOf(installation),
    isolation: 2,
    chips: 'any',
    log,
    level: 'witnessed',
    collateralDaysMax: 'any',
  }
}

/**
 * The TEEs of an installation as terms accept them. SEV-SNP alone needs no part of its own: that is what terms without
 * `tees` accept.
 */
function teesOf({ roots }: InstallationTerms): Pick<Terms, 'tees' | 'boundaries'> {
  const tees = new Set(roots.map(({ tee }) => tee))
  const boundaries: Terms['boundaries'] = [...(tees.has('sgx') ? ['process' as const] : []), 'vm']
  if ([...tees].every((tee) => tee === 'sev-snp')) return { boundaries }
  const parts: Terms['tees'] = {}
  for (const tee of tees) {
    const part = startingParts[tee]
    if (part === undefined) {
      throw new SdkError('ERR_DRAFT_REFUSED', `there are no terms to start from for ${tee}`, {
        hint: 'write them: cella org terms --file FILE',
      })
    }
    parts[tee] = { ...part }
  }
  return { boundaries, tees: parts }
}

// What no use should go below, for the TEEs that an installation can have. A binding with nonces makes evidence fresh, so
// Nitro's own need no age: a receipt is judged at its own time, which may be long after.
const startingParts: { readonly [tee: string]: NonNullable<NonNullable<Terms['tees']>['tdx']> } = {
  'sev-snp': json(snpRehearsal),
  tdx: json(tdxBaseline),
  sgx: json({ ...sgxBaseline, signers: 'any', productIds: 'any' } satisfies SgxPolicy),
  nitro: json({ ...nitroBaseline, nonce: 'any', ageSecondsMax: 'any' } satisfies NitroPolicy),
}

/** As it stands in a document. */
function json(policy: SnpPolicy | TdxPolicy | SgxPolicy | NitroPolicy): { readonly [name: string]: Json } {
  return JSON.parse(JSON.stringify(policy)) as { readonly [name: string]: Json }
}
