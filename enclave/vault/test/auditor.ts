import { type Digest, decodeBase64url, encodeBase64url, encodeHex, type Json } from '@cella/bytes'
import {
  auditStream,
  type EventBody,
  leavesOf,
  memberRequestBytes,
  openEventBody,
  type StreamAudit,
  type StreamKeyStatement,
  scanStream,
  valuesOf,
  verifyStreamKey,
} from '@cella/events'
import { LogView, parseLogPolicy } from '@cella/log'
import { ed25519Sign } from '@cella/primitives'
import { streamKeyInfo, unwrapDek } from '@cella/seal'
import type { Place } from '@cella/testing/vaults'
import type { Member, World } from '@cella/testing/world'
import { eraseRequest, streamKeyRequest } from '../src/requests.ts'
import type { Vault } from '../src/vault.ts'

/** What a member sends; `change` bends what is signed, `sent` what is sent. */
export function memberRequest(
  vault: Vault,
  { member, world }: { member: Member; world: World },
  options: { entries?: number[]; change?: { [name: string]: Json }; sent?: { [name: string]: Json } } = {},
): { [name: string]: Json } {
  const { nonce } = vault.nonce() as { nonce: string }
  const { entries } = options
  const about = { organisation: member.party.id, membership: member.membership.digest, nonce }
  const signed = {
    ...about,
    call: entries === undefined ? 'stream-key' : 'erase',
    vault: vault.id,
    ...(entries && { entries }),
    ...options.change,
  }
  const signature = ed25519Sign(member.seed, memberRequestBytes(signed as never))
  return {
    ...about,
    documents: world.documents(),
    signature: encodeBase64url(signature),
    ...(entries && { entries }),
    ...options.sent,
  }
}

export function askStreamKey(vault: Vault, request: { [name: string]: Json }): Promise<Json> {
  return vault.streamKey(streamKeyRequest.parse(request))
}

export function askErase(vault: Vault, request: { [name: string]: Json }): Promise<Json> {
  return vault.erase(eraseRequest.parse(request))
}

export async function streamKeyOf(vault: Vault, who: { member: Member; world: World }): Promise<Uint8Array> {
  const { statement, wrapped } = (await askStreamKey(vault, memberRequest(vault, who))) as unknown as {
    statement: StreamKeyStatement
    wrapped: string
  }
  const { member, world } = who
  const organisation = member.party.id
  const key = await unwrapDek({
    wrapped: decodeBase64url(wrapped, 'wrapped'),
    recipientPrivateKey: member.hpke.privateKey,
    info: streamKeyInfo({ organisation, vault: vault.id, membership: member.membership.digest }),
  })
  verifyStreamKey(statement, { key, organisation, log: world.log.origin, vaults: [vault.id as never] })
  return key
}

/** An auditor's own reading of the log, with the bodies that the host still has. */
export async function audit(here: Place, key: Uint8Array, member: Member): Promise<StreamAudit> {
  const view = new LogView({
    policy: parseLogPolicy(new TextEncoder().encode(here.log.policyOf())),
    read: here.log,
  })
  await view.advance()
  const bodies = new Map<number, EventBody>()
  for (const { n, index } of scanStream(key, leavesOf(view)).first) {
    const { commitment } = view.leafAt(index)
    const sealed = here.host.bodies.get(encodeHex(commitment) as Digest)
    if (sealed === undefined) continue
    bodies.set(n, await openEventBody(sealed, { commitment, streamKey: key, reader: member.hpke }))
  }
  return auditStream({ key, leaves: leavesOf(view), bodies })
}

/** Type and values of each entry. */
export function told({ entries }: StreamAudit): { [name: string]: Json }[] {
  return entries.map(({ type, fields }) => ({ ...valuesOf(fields), type: type ?? '' }))
}
