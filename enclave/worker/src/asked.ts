import type { HostClient } from '@cella/channel'
import { ChannelError } from '@cella/channel'
import type { KeyId } from '@cella/primitives'
import { type Asked, askable, assetsOf, decidingVaults, holdKey } from '@cella/release'
import { nonceAnswer } from './messages.ts'
import type { Attempt } from './parts.ts'

/** The vaults that an attempt asks, as its evidence names them. */
export function askedBy({ contract, documents, vaults }: Attempt): Asked {
  return { contract: contract.payload, documents, asked: vaults }
}

/** Nonces that were asked for, by vault. */
export type AskedNonces = ReadonlyMap<KeyId, Promise<string>>

/** Asks each of these for a nonce, whether or not it will be needed. */
export function askAtOnce(vaults: readonly KeyId[], host: HostClient): AskedNonces {
  const asked = new Map<KeyId, Promise<string>>()
  for (const vault of new Set(vaults)) {
    const nonce = askNonce(vault, host)
    // Whoever needs it sees the failure.
    nonce.catch(() => undefined)
    asked.set(vault, nonce)
  }
  return asked
}

async function askNonce(vault: KeyId, host: HostClient): Promise<string> {
  return nonceAnswer.parse(await host.json('POST', `/v1/vaults/${vault}/nonce`, {})).nonce
}

/**
 * A nonce of each vault that has to decide, in the contract's order; those that `early` has were asked before. A vault that
 * can't be reached is left out where others hold the same keys or enough shares of them; which vaults decide is then a
 * function of those that are left. Throws what the first one answered without which nothing can be released.
 */
export async function askVaults(
  { contract, documents }: Omit<Asked, 'asked'>,
  { host, early }: { host: HostClient; early: AskedNonces },
): Promise<Map<KeyId, string>> {
  const known = askable({ contract, documents })
  const nonces = new Map<KeyId, string>()
  const lost = new Map<KeyId, unknown>()
  for (;;) {
    const asked = known.filter((vault) => !lost.has(vault))
    const deciding = decidingVaults({ contract, documents, asked })
    const isLacking = assetsOf(contract).some(
      ({ manifest }) =>
        !holdKey({ contract, documents, asked }, manifest) && holdKey({ contract, documents, asked: known }, manifest),
    )
    if (isLacking) throw lost.values().next().value
    const next = deciding.find((vault) => !nonces.has(vault))
    if (next === undefined) return inOrder(nonces, { deciding, known })
    if (lost.has(next)) throw lost.get(next)
    try {
      nonces.set(next, await (early.get(next) ?? askNonce(next, host)))
    } catch (error) {
      if (!isAway(error)) throw error
      lost.set(next, error)
    }
  }
}

/** Nobody answered for the vault, or it said that it can't now. */
function isAway(error: unknown): boolean {
  if (!(error instanceof ChannelError)) return false
  return error.code === 'ERR_HOST_UNAVAILABLE' || [404, 502, 503, 504].includes(error.refusal?.status ?? 0)
}

function inOrder(
  nonces: ReadonlyMap<KeyId, string>,
  { deciding, known }: { deciding: readonly KeyId[]; known: readonly KeyId[] },
): Map<KeyId, string> {
  const ordered = known.filter((vault) => deciding.includes(vault))
  return new Map(ordered.map((vault) => [vault, nonces.get(vault)!]))
}
