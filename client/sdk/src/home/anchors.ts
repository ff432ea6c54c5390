import { encodeUtf8 } from '@cella/bytes'
import { digestField, labelField, rootField } from '@cella/documents'
import { type LogPolicy, parseLogPolicy } from '@cella/log'
import type { Anchors } from '@cella/receipt'
import { z } from 'zod'
import { SdkError } from '../error.ts'

/** `anchors.json`: what this profile believes, put there by its owner. */
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

/** The policy of the log with this origin. Throws ERR_LOG_UNTRUSTED where the owner named none. */
export function logPolicyFor(anchors: StoredAnchors, origin: string): LogPolicy {
  for (const { policy } of anchors.logs) {
    const parsed = parseLogPolicy(encodeUtf8(policy))
    if (parsed.logs.some(({ key }) => key.name === origin)) return parsed
  }
  throw new SdkError('ERR_LOG_UNTRUSTED', `the log ${origin} is not one whose key this profile holds`, {
    hint: 'get its policy from somebody you trust: cella org trust --log FILE, or --installation FILE of your own server',
  })
}

/** The anchors in the form in which receipts are judged. */
export function receiptAnchors(anchors: StoredAnchors, now: number): Anchors {
  return {
    organisations: anchors.organisations,
    logs: anchors.logs.map(({ policy, independentWitnesses }) => ({
      policy: parseLogPolicy(encodeUtf8(policy)),
      independentWitnesses,
    })),
    roots: anchors.roots,
    now,
  }
}

/** The owner's name for an organisation, or undefined for one that is not trusted. */
export function petname(anchors: StoredAnchors, id: string): string | undefined {
  return anchors.organisations.find((organisation) => organisation.id === id)?.name
}
