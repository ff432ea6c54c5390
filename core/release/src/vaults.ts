import type { Digest } from '@cella/bytes'
import type { Contract, Grant } from '@cella/documents'
import type { KeyId } from '@cella/primitives'
import { assetsOf, type ContractAsset } from './contract-check.ts'
import type { DocumentSet } from './document-set.ts'
import { findGrant } from './owner.ts'
import { type Reason, reason } from './reasons.ts'

/** A contract, and the vaults that one attempt at a run of it asks: those of which the worker's evidence holds a nonce. */
export interface Asked {
  readonly contract: Contract
  readonly documents: DocumentSet
  readonly asked: readonly KeyId[]
}

/**
 * The vaults that decide about an asset, of those that are asked, by the grants that its owner has in force: the first with
 * the whole key; or the first as many with shares of it as give the key. The same whoever looks. Where there is no grant the
 * contract's first vault has to say so.
 */
export function vaultsOf(situation: Asked, manifest: Digest): KeyId[] {
  const granted = grantsOf(situation, manifest)
  const whole = granted.find(({ grant }) => grant.share === undefined)
  if (whole !== undefined) return [whole.vault]
  const { threshold } = granted[0]?.grant.share ?? { threshold: 0 }
  if (threshold === 0) return situation.contract.vaults.slice(0, 1)
  // One that stands in for another has the same share: each counts once.
  const distinct = new Map(granted.map((one) => [one.grant.share!.index, one.vault] as const).reverse())
  return granted
    .filter(({ vault, grant }) => distinct.get(grant.share!.index) === vault)
    .slice(0, threshold)
    .map(({ vault }) => vault)
}

/** The assets that this vault decides about, in the contract's order. */
export function assetsAt(situation: Asked, vault: KeyId): ContractAsset[] {
  return assetsOf(situation.contract).filter(({ manifest }) => vaultsOf(situation, manifest).includes(vault))
}

/** Every vault that may be asked about the contract's assets: those that it names, and those that stand in for them. */
export function askable(situation: Omit<Asked, 'asked'>): KeyId[] {
  const { contract, documents } = situation
  const owners = assetsOf(contract).flatMap(
    ({ manifest }) => documents.find('cella/manifest', manifest)?.payload.organisation ?? [],
  )
  const standingIn = [...new Set(owners)].flatMap((owner) => candidatesOf(situation, owner))
  return [...new Set([...standingIn, ...contract.vaults])]
}

/** All vaults that decide about an asset of the contract, each once. */
export function decidingVaults(situation: Asked): KeyId[] {
  return [...new Set(assetsOf(situation.contract).flatMap(({ manifest }) => vaultsOf(situation, manifest)))]
}

/** Whether the vaults that are asked hold the asset's key: one of them the whole, or enough of them shares of it. */
export function holdKey(situation: Asked, manifest: Digest): boolean {
  return grantsOf(situation, manifest).length > 0 && shareReasons(situation, manifest).length === 0
}

/** What keeps the shares in the vaults that are asked from giving the asset's key. */
export function shareReasons(situation: Asked, manifest: Digest): Reason[] {
  const deciding = new Set(vaultsOf(situation, manifest))
  const shares = grantsOf(situation, manifest)
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
  { contract, documents, asked }: Asked,
  manifest: Digest,
): { readonly vault: KeyId; readonly grant: Grant }[] {
  const document = documents.find('cella/manifest', manifest)
  if (document === undefined) return []
  return candidatesOf({ contract, documents }, document.payload.organisation).flatMap((vault) => {
    if (!asked.includes(vault)) return []
    const grant = findGrant({ documents, vault, log: contract.log }, document)
    return 'code' in grant ? [] : [{ vault, grant: grant.payload }]
  })
}

/**
 * The contract's vaults, each after those that stand in for it where this owner is concerned, the newest first: so an owner's
 * assets go over to a new build once its terms accepted that.
 */
function candidatesOf({ contract, documents }: Omit<Asked, 'asked'>, owner: Digest): KeyId[] {
  return [...new Set(contract.vaults.flatMap((vault) => [...documents.standingIn(vault, owner).reverse(), vault]))]
}
