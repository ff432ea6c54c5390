import type { Digest } from '@cella/bytes'
import type { Contract, Grant } from '@cella/documents'
import type { KeyId } from '@cella/primitives'
import { assetsOf, type ContractAsset } from './contract-check.ts'
import type { DocumentSet } from './document-set.ts'
import { findGrant } from './owner.ts'
import { type Reason, reason } from './reasons.ts'

/**
 * The vaults that decide about an asset, by the grants that its owner has in force in the contract's vaults: the first with
 * the whole key; or the first as many with shares of it as give the key. The same whoever asks. Where there is no grant the
 * contract's first vault has to say so.
 */
export function vaultsOf(contract: Contract, manifest: Digest, documents: DocumentSet): KeyId[] {
  const granted = grantsOf(contract, manifest, documents)
  const whole = granted.find(({ grant }) => grant.share === undefined)
  if (whole !== undefined) return [whole.vault]
  const { threshold } = granted[0]?.grant.share ?? { threshold: 0 }
  if (threshold === 0) return contract.vaults.slice(0, 1)
  return granted.slice(0, threshold).map(({ vault }) => vault)
}

/** The assets that this vault decides about, in the contract's order. */
export function assetsAt(contract: Contract, vault: KeyId, documents: DocumentSet): ContractAsset[] {
  return assetsOf(contract).filter(({ manifest }) => vaultsOf(contract, manifest, documents).includes(vault))
}

/** What keeps the shares in the contract's vaults from giving the asset's key. */
export function shareReasons(contract: Contract, manifest: Digest, documents: DocumentSet): Reason[] {
  const deciding = new Set(vaultsOf(contract, manifest, documents))
  const shares = grantsOf(contract, manifest, documents)
    .filter(({ vault }) => deciding.has(vault))
    .flatMap(({ grant }) => grant.share ?? [])
  const [first] = shares
  if (first === undefined) return []
  const indices = new Set(shares.map(({ index }) => index))
  const fits = indices.size === first.threshold && shares.every(({ threshold }) => threshold === first.threshold)
  if (fits) return []
  return [
    reason('ERR_GRANT_SHARES', 'contract.vaults', {
      expected: `${first.threshold} vaults with a share each of one splitting of the key`,
      got: `${indices.size} such shares`,
      whoCanChange: 'author',
    }),
  ]
}

function grantsOf(
  contract: Contract,
  manifest: Digest,
  documents: DocumentSet,
): { readonly vault: KeyId; readonly grant: Grant }[] {
  const document = documents.find('cella/manifest', manifest)
  if (document === undefined) return []
  return contract.vaults.flatMap((vault) => {
    const grant = findGrant({ documents, vault, log: contract.log }, document)
    return 'code' in grant ? [] : [{ vault, grant: grant.payload }]
  })
}
