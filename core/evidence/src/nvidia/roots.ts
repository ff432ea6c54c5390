import { parseDigest } from '@cella/bytes'
import type { OtherRoot } from '../roots.ts'

/**
 * SHA-256 of the SubjectPublicKeyInfo of `NVIDIA Device Identity CA` (2021-11-05, P-384), above the certificates of
 * GPUs and NVSwitches: `guest_tools/gpu_verifiers/local_gpu_verifier/src/verifier/certs/verifier_device_root.pem` of
 * NVIDIA/nvtrust.
 */
export const nvidiaRoots: readonly OtherRoot[] = Object.freeze([
  Object.freeze({
    tee: 'nvidia-gpu' as const,
    spki: parseDigest('a90c4eb5acfd3e3d03a25db6a26b84f720ad0503196c627c21ddd48dd85b06a4', 'NVIDIA Device Identity CA'),
    simulated: false,
  }),
])

/**
 * The same of `NVIDIA CoRIM signing Root CA` (2023-03-16, P-384), above the signers of reference integrity manifests:
 * `verifier_RIM_root.pem` beside it. It says nothing about devices, and the other root nothing about manifests.
 */
export const nvidiaRimRoots: readonly OtherRoot[] = Object.freeze([
  Object.freeze({
    tee: 'nvidia-rim' as const,
    spki: parseDigest(
      'dec1dc316477aa851eebdf51327ae9f864bc8d89254657ed1e7eb9168af1e1a3',
      'NVIDIA CoRIM signing Root CA',
    ),
    simulated: false,
  }),
])
