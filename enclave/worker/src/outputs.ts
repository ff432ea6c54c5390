import { canonicalJson, type Digest, decodeBase64url, encodeBase64, encodeBase64url, encodeUtf8 } from '@cella/bytes'
import type { HostClient } from '@cella/channel'
import type { Contract, Receipt } from '@cella/documents'
import { digestOf } from '@cella/primitives'
import { type DocumentSet, rulesFor } from '@cella/release'
import type { SandboxResult } from '@cella/sandbox'
import { type Dek, outputInfo, sealBytes, wrapDek } from '@cella/seal'
import { applyOutputRules, intersectOutputRules, padToStep } from '@cella/table'
import type { RunSeed } from './seed.ts'
import { uploadBlob } from './upload.ts'

/** Where a contract's diagnostics go; no program output can have this name. */
const diagnosticsName = 'cella-diagnostics'

/** An output that passed all rules, sealed. Its key is still here. */
export interface SealedOutput {
  readonly receipt: Receipt['outputs'][number]
  readonly sealed: Uint8Array
  readonly outboard: Uint8Array
  readonly dek: Dek
}

/** Applies the rules of every owner and of the contract. `undefined` where one of them refuses. */
export function releasable(
  result: SandboxResult,
  { contract, documents }: { contract: Contract; documents: DocumentSet },
): Map<string, { bytes: Uint8Array; suppressed: number }> | undefined {
  const outputs = new Map<string, { bytes: Uint8Array; suppressed: number }>()
  for (const { name, declared } of contract.outputs) {
    const rules = intersectOutputRules(rulesFor(contract, name, documents))
    // Two owners whose rules contradict allow nothing between them.
    if ('ok' in rules) return undefined
    const ruled = applyOutputRules(result.outputs.get(name) ?? new Uint8Array(0), rules, declared)
    if (!ruled.ok) return undefined
    outputs.set(name, { bytes: ruled.bytes, suppressed: ruled.suppressedRows })
  }
  return outputs
}

/** Seals outputs and diagnostics under keys of the run's seed, padded to size steps. */
export function sealOutputs(
  outputs: ReadonlyMap<string, { bytes: Uint8Array; suppressed: number }>,
  { contract, result, seed }: { contract: Contract; result: SandboxResult; seed: RunSeed },
): SealedOutput[] {
  const sealed = [...outputs].map(([name, { bytes, suppressed }]) => {
    const { receivers } = contract.outputs.find((output) => output.name === name)!
    return sealOne(name, bytes, { seed, suppressed, receivers: receivers.map(({ membership }) => membership) })
  })
  if (contract.diagnostics.length === 0) return sealed
  const receivers = contract.diagnostics.map(({ membership }) => membership)
  return [...sealed, sealOne(diagnosticsName, diagnosticsBytes(result), { seed, suppressed: 0, receivers })]
}

function sealOne(
  name: string,
  bytes: Uint8Array,
  { seed, suppressed, receivers }: { seed: RunSeed; suppressed: number; receivers: Digest[] },
): SealedOutput {
  const padded = padToStep(bytes)
  const { dek, salt } = seed.outputKey(name, padded)
  // The key comes from the plaintext, so the salt may too: see RunSeed.outputKey.
  const file = sealBytes({ dek, plaintext: padded, dangerouslyDeterministicSalt: salt })
  padded.fill(0)
  const { rootDigest, size, keyCommitment } = file
  return {
    dek,
    sealed: file.sealed,
    outboard: file.outboard,
    receipt: {
      name,
      suppressed,
      receivers,
      sealed: { format: 'cella-sealed/1', rootDigest, size, keyCommitment: keyCommitment as Digest },
    },
  }
}

function diagnosticsBytes({ status, diagnostics }: SandboxResult): Uint8Array {
  const { stdout, stderr, exitCode, trapText, fuelUsed, memoryPeakPages } = diagnostics
  return encodeUtf8(
    canonicalJson({
      status,
      exitCode,
      trapText,
      fuelUsed: String(fuelUsed),
      memoryPeakPages,
      stdout: encodeBase64(stdout),
      stderr: encodeBase64(stderr),
    }),
  )
}

export interface UploadedOutput {
  readonly name: string
  readonly blob: Digest
  readonly outboard: Digest
}

/** Under which names the ciphertext lies. */
export function uploadedOutput({ receipt, sealed, outboard }: SealedOutput): UploadedOutput {
  return { name: receipt.name, blob: digestOf(sealed), outboard: digestOf(outboard) }
}

/** Puts the ciphertext where receivers find it. Without the keys it is of no use to anyone. */
export async function uploadOutputs(outputs: readonly SealedOutput[], host: HostClient): Promise<void> {
  await Promise.all(outputs.flatMap(({ sealed, outboard }) => [uploadBlob(host, sealed), uploadBlob(host, outboard)]))
}

/** The key of each output, wrapped to each of its receivers as their memberships name them. */
export async function wrapOutputKeys(
  outputs: readonly SealedOutput[],
  { contract, run, documents }: { contract: Digest; run: number; documents: DocumentSet },
): Promise<Map<string, { membership: Digest; wrapped: string }[]>> {
  const keys = new Map<string, { membership: Digest; wrapped: string }[]>()
  for (const { receipt, dek } of outputs) {
    const wrapped = await Promise.all(
      receipt.receivers.map(async (membership) => {
        const { hpkeKey } = documents.require('cella/membership', membership).payload
        const recipientPublicKey = decodeBase64url(hpkeKey, 'hpkeKey')
        const info = outputInfo({ contract, run, output: receipt.name })
        return { membership, wrapped: encodeBase64url(await wrapDek({ dek, recipientPublicKey, info })) }
      }),
    )
    keys.set(receipt.name, wrapped)
  }
  return keys
}
