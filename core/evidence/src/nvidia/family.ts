import type { Family } from '../family.ts'
import { appraiseNvidia, checkNvidiaPolicy, type NvidiaPolicy } from './policy.ts'
import { type NvidiaEntry, nvidiaFormat, type RimReader, type VerifiedNvidia, verifyNvidia } from './verify.ts'

export type NvidiaFamily = Family<typeof nvidiaFormat, NvidiaEntry, VerifiedNvidia, NvidiaPolicy>

/** The family with a reader of manifests, or without one: then no report is compared with any. */
export function makeNvidiaFamily(readRims: RimReader | undefined): NvidiaFamily {
  return Object.freeze({
    format: nvidiaFormat,
    tee: 'nvidia-gpu',
    fields: { report: 'bytes', certificates: 'bytes[]' },
    verify: (entry, context) => verifyNvidia(entry, context, readRims),
    checkPolicy: checkNvidiaPolicy,
    appraise: appraiseNvidia,
  } satisfies NvidiaFamily)
}

/** NVIDIA GPUs and NVSwitches, without manifests. `@cella/evidence/nvidia-rim` has the one that reads them. */
export const nvidiaFamily: NvidiaFamily = makeNvidiaFamily(undefined)
