import type { Digest } from '@cella/bytes'
import { concatBytes, encodeUtf8 } from '@cella/bytes'
import { ChannelError, type HostClient } from '@cella/channel'
import type { Contract, Manifest } from '@cella/documents'
import { digestOf, hkdfSha256 } from '@cella/primitives'
import type { DocumentSet } from '@cella/release'
import type { SandboxInput } from '@cella/sandbox'
import { type Dek, openStream, SealError } from '@cella/seal'
import { applyTreatments, type ColumnNames, TableError } from '@cella/table'
import { WorkerError } from './error.ts'
import type { Offer } from './messages.ts'

/** All inputs of a run together: they are held in memory, treated, until the program has read them. */
const inputBytesMax = 4 * 1024 ** 3

/** The program's module, whole, checked against the digest that the policies name. */
export async function openProgram(
  manifest: Manifest,
  options: { digest: Digest; dek: Dek; host: HostClient; locations: Offer['locations'] },
): Promise<Uint8Array> {
  const module = concatBytes(...(await collect(openAsset(manifest, options), 64 * 1024 * 1024)))
  const digest = digestOf(module)
  if (manifest.program === null || digest !== manifest.program.digest) {
    throw new WorkerError('ERR_PROGRAM_DIGEST', `the program has digest ${digest}, not the one its manifest names`)
  }
  return module
}

/** Every input in the contract's order, fetched whole, opened, and with its owner's treatments applied. */
export async function openInputs(
  step: Contract['steps'][number],
  options: { documents: DocumentSet; deks: ReadonlyMap<Digest, Dek>; host: HostClient; locations: Offer['locations'] },
): Promise<SandboxInput[]> {
  const inputs: SandboxInput[] = []
  let budget = inputBytesMax
  for (const { name, manifest: digest, columns } of step.inputs) {
    const manifest = options.documents.require('cella/manifest', digest).payload
    const dek = options.deks.get(digest)
    if (dek === undefined) throw new WorkerError('ERR_INPUT_NOT_OPENED', `no key was released for input ${name}`)
    const opened = openAsset(manifest, { digest, dek, host: options.host, locations: options.locations })
    const chunks = await collect(treated(manifest, { dek, name, columns }, opened), budget)
    const length = chunks.reduce((sum, chunk) => sum + chunk.length, 0)
    budget -= length
    inputs.push({ name, length, bytes: handOver(chunks) })
  }
  return inputs
}

/** A table is never handed over as it is: what the program reads has gone through the owner's treatments. */
async function* treated(
  manifest: Manifest,
  { dek, name, columns }: { dek: Dek; name: string; columns: ColumnNames | undefined },
  source: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  if (manifest.table === null) {
    yield* source
    return
  }
  const info = encodeUtf8('cella/v1/keyed-hash\u0000')
  const hashKey = hkdfSha256({ ikm: dek, salt: new Uint8Array(0), info, length: 32 })
  try {
    yield* applyTreatments(manifest.table.columns, hashKey, columns).apply(source)
  } catch (cause) {
    // Its message may quote a cell.
    if (cause instanceof TableError) {
      throw new WorkerError('ERR_INPUT_NOT_OPENED', `input ${name} is not the table that its manifest describes`)
    }
    throw cause
  }
}

async function* openAsset(
  manifest: Manifest,
  { digest, dek, host, locations }: { digest: Digest; dek: Dek; host: HostClient; locations: Offer['locations'] },
): AsyncGenerator<Uint8Array> {
  const location = locations[digest]
  if (location === undefined) {
    throw new WorkerError('ERR_INPUT_NOT_OPENED', `the manager does not say where asset ${manifest.series} lies`)
  }
  const { rootDigest, size, keyCommitment } = manifest.sealed
  try {
    const outboard = await host.bytes(`/v1/blobs/${location.outboard}`, 64 * 1024 * 1024)
    const source = host.stream(`/v1/blobs/${location.sealed}`, size)
    yield* openStream({ dek, source, outboard, expected: { rootDigest, size, keyCommitment } })
  } catch (cause) {
    if (cause instanceof SealError) {
      throw new WorkerError('ERR_INPUT_NOT_OPENED', `asset ${manifest.series}: ${cause.code}`, {
        cause,
        reasons: [cause.code],
      })
    }
    if (cause instanceof ChannelError) {
      throw new WorkerError('ERR_INPUT_NOT_OPENED', `asset ${manifest.series}: ${cause.message}`, {
        cause,
        reasons: [cause.code],
      })
    }
    throw cause
  }
}

async function collect(source: AsyncIterable<Uint8Array>, bytesMax: number): Promise<Uint8Array[]> {
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of source) {
    length += chunk.length
    if (length > bytesMax) throw new WorkerError('ERR_INPUT_TOO_LARGE', 'the inputs together have more bytes than fit')
    // A stream may use its memory again for the next piece.
    chunks.push(chunk.slice())
  }
  return chunks
}

/** Gives each chunk once and zeroes it behind. */
async function* handOver(chunks: Uint8Array[]): AsyncGenerator<Uint8Array> {
  for (const chunk of chunks) {
    yield chunk
    chunk.fill(0)
  }
}
