import { type Digest, encodeHex } from '@cella/bytes'
import { digestField, keyIdField, timeField } from '@cella/documents'
import { type StreamEntry, valuesOf } from '@cella/events'
import { makeProofFile } from '@cella/log'
import type { KeyId } from '@cella/primitives'
import type { DocumentSet } from '@cella/release'
import { z } from 'zod'
import { type AssetName, revisionsOf } from './assets.ts'
import { gather } from './documents.ts'
import { fetchStreamKey, type OwnStream, readStream } from './events.ts'
import { nameOf } from './organisations.ts'
import type { Session } from './session.ts'
import { usedVaults } from './vault-standing.ts'

/** One time that a key of an asset was asked for, as a vault logged it in its owner's stream. */
export interface AccessRecord {
  readonly vault: KeyId
  /** Number in the owner's stream, and place in the log. */
  readonly entry: number
  readonly index: number
  /** What the leaf commits to, in hexadecimal. */
  readonly commitment: string
  /** A C2SP tlog-proof of that leaf, for `cella log check` and other tools. */
  readonly proof: Uint8Array
  /** Bounds by the witnesses' timestamps, seconds. */
  readonly time: { readonly earliest: number; readonly latest: number }
  readonly manifest: Digest
  readonly revision: number
  /** Null for a secret that a guest asked for. */
  readonly contract: Digest | null
  readonly run: number | null
  readonly attempt: number | null
  /** Who asked: the contract's author, by the name that one trusts it under; the guest's evidence for a secret. */
  readonly who: string
  readonly account: KeyId | null
  readonly purpose: string
  readonly program: string
  readonly receivers: readonly string[]
  readonly verdict: 'released' | 'allowed, not released' | 'denied'
  readonly reasons: readonly string[]
  readonly decision: Digest
}

export interface AccessReport {
  /** Oldest first within a vault. */
  readonly records: readonly AccessRecord[]
  /** Why this may not be everything; none where the streams prove that it is. */
  readonly problems: readonly string[]
  /** Of each vault's stream: what was read, up to which tree size. */
  readonly streams: readonly { readonly vault: KeyId; readonly entries: number; readonly size: number }[]
}

const time = z.object({ earliest: timeField, latest: timeField })
const decided = z.object({
  allowed: z.boolean(),
  reasons: z.array(z.string().max(100)).max(64),
  decision: digestField,
  time,
})
const contractDecision = decided.extend({
  asset: digestField,
  contract: digestField,
  run: z.int().min(1),
  attempt: z.int().min(1),
})
const secretDecision = decided.extend({ secret: digestField, guestEvidence: digestField })
const denials = z.object({ count: z.int().min(0), unauthenticated: z.int().min(0) })

/** A decision about one of the wanted assets. */
interface Found {
  readonly entry: StreamEntry
  readonly manifest: Digest
  readonly about: z.infer<typeof decided>
  readonly contract: Pick<z.infer<typeof contractDecision>, 'contract' | 'run' | 'attempt'> | undefined
  readonly guest: Digest | undefined
}

/**
 * Who asked for an asset of one's own organisation, in every vault that it granted to or that stands in for one, as far as the manager names them (or in `vaults`): its decisions in the
 * organisation's own stream, joined with the contracts they were made for. Reading a stream stands in it as `access`, and
 * needs the role auditor or regulator.
 */
export async function readAccess(
  session: Session,
  { series, vaults }: { readonly series: string; readonly vaults?: readonly KeyId[] | undefined },
): Promise<AccessReport> {
  const name: AssetName = { organisation: await session.organisation(), series }
  const { revisions } = await revisionsOf(session, name, { withdrawn: true })
  const byDigest = new Map(revisions.map(({ manifest }) => [manifest.digest, manifest.payload.revision]))
  const problems = revisions.length > 0 ? [] : [`the manager names no revision of ${series}`]
  const records: AccessRecord[] = []
  const streams: { vault: KeyId; entries: number; size: number }[] = []
  const read = new Set<string>()
  for (const vault of vaults ?? (await usedVaults(session))) {
    const key = await fetchStreamKey(session, { vault })
    // A vault that stands in for another writes into the same stream.
    if (read.has(encodeHex(key.key))) continue
    read.add(encodeHex(key.key))
    const stream = await readStream(session, key)
    const { entries } = stream.audit
    problems.push(...problemsOf(stream, vault))
    streams.push({ vault, entries: entries.length, size: stream.checkpoint.size })
    const found = entries.flatMap((entry) => decisionOf(entry, byDigest) ?? [])
    const contracts = [...new Set(found.flatMap(({ contract }) => contract?.contract ?? []))]
    const { documents } = await gather(session, { digests: contracts })
    const programs = documents.all('cella/contract').flatMap(({ payload }) => payload.steps.map((step) => step.program))
    const assets = await gather(session, { digests: [...new Set(programs)] })
    const released = releasedBy(entries)
    for (const one of found) {
      const { entry, manifest, about, contract, guest } = one
      const words =
        contract && (await contractWords(session, { documents, assets: assets.documents }, contract.contract))
      if (contract !== undefined && words === undefined) {
        problems.push(`entry ${entry.n}: the manager does not give contract ${contract.contract}`)
      }
      records.push({
        vault,
        entry: entry.n,
        index: entry.index,
        commitment: encodeHex(entry.commitment),
        proof: await makeProofFile({
          checkpoint: stream.checkpoint,
          index: entry.index,
          hashes: stream.log.view.hashes(),
        }),
        time: { ...about.time },
        manifest,
        revision: byDigest.get(manifest)!,
        contract: contract?.contract ?? null,
        run: contract?.run ?? null,
        attempt: contract?.attempt ?? null,
        who: words?.who ?? (guest === undefined ? '' : `guest ${guest}`),
        account: words?.account ?? null,
        purpose: words?.purpose ?? '',
        program: words?.program ?? '',
        receivers: words?.receivers ?? [],
        verdict: !about.allowed ? 'denied' : released.has(about.decision) ? 'released' : 'allowed, not released',
        reasons: about.reasons,
        decision: about.decision,
      })
    }
  }
  return { records, problems, streams }
}

function decisionOf(entry: StreamEntry, wanted: ReadonlyMap<Digest, number>): Found | undefined {
  const values = valuesOf(entry.fields)
  if (entry.type === 'decision') {
    const { success, data } = contractDecision.safeParse(values)
    if (!success || !wanted.has(data.asset)) return undefined
    return { entry, manifest: data.asset, about: data, contract: data, guest: undefined }
  }
  if (entry.type === 'secret-decision') {
    const { success, data } = secretDecision.safeParse(values)
    if (!success || !wanted.has(data.secret)) return undefined
    return { entry, manifest: data.secret, about: data, contract: undefined, guest: data.guestEvidence }
  }
  return undefined
}

function releasedBy(entries: readonly StreamEntry[]): ReadonlySet<unknown> {
  return new Set(
    entries
      .filter(({ type }) => type === 'released' || type === 'secret-released')
      .map(({ fields }) => valuesOf(fields).decision),
  )
}

/** Why the records of a stream may not be all: gaps, bodies that are gone, denials that are only counted. */
function problemsOf({ audit }: OwnStream, vault: KeyId): string[] {
  const problems = audit.problems.map(({ code, n, text }) => `vault ${vault}, entry ${n}: ${code}, ${text}`)
  for (const { n, state, type, fields } of audit.entries) {
    if (state === 'erased') problems.push(`vault ${vault}, entry ${n}: its body was erased at the owner’s word`)
    const counted = type === 'denials' ? denials.safeParse(valuesOf(fields)) : undefined
    if (counted?.success && counted.data.count > 0) {
      problems.push(
        `vault ${vault}, entry ${n}: ${counted.data.count} denials are counted there and not told one by one`,
      )
    }
  }
  return problems
}

async function contractWords(
  session: Session,
  { documents, assets }: { readonly documents: DocumentSet; readonly assets: DocumentSet },
  digest: Digest,
) {
  const contract = documents.find('cella/contract', digest)?.payload
  if (contract === undefined) return undefined
  const name = (organisation: Digest): Promise<string> => nameOf(session, documents, organisation)
  const program = contract.steps.map((step) => {
    const manifest = assets.find('cella/manifest', step.program)?.payload
    return manifest?.program ? `${manifest.title} (${manifest.program.digest})` : step.program
  })
  const receivers = contract.outputs.flatMap((output) => output.receivers)
  return {
    who: await name(contract.organisation),
    account: keyIdField.parse(contract.signer),
    purpose: contract.purpose,
    program: program.join(', '),
    receivers: [
      ...new Set(
        await Promise.all(receivers.map(async ({ organisation, role }) => `${await name(organisation)} (${role})`)),
      ),
    ],
  }
}
