import type { Digest } from '@cella/bytes'
import type { Contract } from '@cella/documents'
import type { KeyId } from '@cella/primitives'
import { assetsOf, type ContractAsset } from './contract-check.ts'
import type { DocumentSet } from './document-set.ts'
import { findGrant } from './owner.ts'

/**
 * The vault that decides about an asset: the first of the contract's in which its owner has a grant in force, whoever
 * asks. Where there is none the contract's first vault has to say so.
 */
export function vaultOf(contract: Contract, manifest: Digest, documents: DocumentSet): KeyId {
  const document = documents.find('cella/manifest', manifest)
  const granted =
    document &&
    contract.vaults.find((vault) => !('code' in findGrant({ documents, vault, log: contract.log }, document)))
  return granted ?? contract.vaults[0]!
}

/** The assets that this vault decides about, in the contract's order. */
export function assetsAt(contract: Contract, vault: KeyId, documents: DocumentSet): ContractAsset[] {
  return assetsOf(contract).filter(({ manifest }) => vaultOf(contract, manifest, documents) === vault)
}
