import type { Json } from '@cella/bytes'
import { type Evidence, evidenceJson } from '@cella/evidence'

/** Fresh evidence of this vault with what it is bound to. */
export interface Attestation {
  readonly binding: { readonly [name: string]: Json }
  readonly evidence: Evidence
}

/** As it is sent. */
export function attestationJson({ binding, evidence }: Attestation): { binding: Json; evidence: Json } {
  return { binding, evidence: evidenceJson(evidence) }
}
