import { encodeUtf8 } from '@cella/bytes'
import { digestField, labelField, rootField } from '@cella/documents'
import { parseLogPolicy } from '@cella/log'
import type { KeyId } from '@cella/primitives'
import type { Anchors } from '@cella/receipt'
import { z } from 'zod'

/** `anchors.json`: what a verifier believes, put there by itself. */
export const anchorsFileSchema = z.strictObject({
  format: z.literal('cella-anchors/1'),
  /** Trusted organisations; the name is the owner's own for them. */
  organisations: z.array(z.strictObject({ id: digestField, name: labelField })).max(10_000),
  logs: z
    .array(
      z.strictObject({
        /** A C2SP tlog-policy. */
        policy: z.string().min(1).max(16_384),
        /** Names of those of its witnesses that the owner holds for independent of the operator. */
        independentWitnesses: z.array(z.string().max(255)).max(64),
      }),
    )
    .max(64),
  roots: z.array(rootField).max(64),
})
export type StoredAnchors = z.infer<typeof anchorsFileSchema>

/** What the verifier of any file believes beforehand. None of it may come from the file. */
export interface FileAnchors extends Anchors {
  /** Vaults whose evidence the verifier appraised, or whose ids it was told by somebody it trusts. */
  readonly vaults: readonly KeyId[]
}

/** The anchors in the form in which files are judged. Throws LogError for a policy that is none. */
export function anchorsOf(stored: StoredAnchors, now: number, vaults: readonly KeyId[] = []): FileAnchors {
  return {
    organisations: stored.organisations,
    logs: stored.logs.map(({ policy, independentWitnesses }) => ({
      policy: parseLogPolicy(encodeUtf8(policy)),
      independentWitnesses,
    })),
    roots: stored.roots,
    now,
    vaults,
  }
}
