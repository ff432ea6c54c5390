import {
  type CollateralDescription,
  type CollateralMerge,
  describeCollateral,
  type Endorsement,
  EvidenceError,
} from '@cella/evidence'

export interface HeldCollateral extends CollateralDescription {
  /** At `now`: `expired` collateral is kept until a newer edition comes, and verification refuses it. */
  readonly state: 'in-force' | 'expired' | 'not-yet'
}

/** Where collateral is kept. What is read was never verified: a verification does that. */
export interface CollateralStore {
  /** Throws CollateralError where something held is not what it was kept as. */
  pieces(): Promise<readonly Endorsement[]>
  /** Keeps what is newer than what is there. Throws EvidenceError for content that isn't of its kind. */
  add(given: readonly Endorsement[]): Promise<CollateralMerge>
  close(): Promise<void>
}

/** What is there, each piece read as far as telling what it is about. */
export async function listCollateral(store: CollateralStore, now: number): Promise<readonly HeldCollateral[]> {
  return (await store.pieces()).map((endorsement) => {
    const description = describeCollateral(endorsement)
    const { notBefore, notAfter } = description
    const expired = notAfter !== undefined && now > notAfter
    const early = notBefore !== undefined && now < notBefore
    return { ...description, state: expired ? 'expired' : early ? 'not-yet' : 'in-force' }
  })
}

/** What is wrong with a piece that is held as `digest`; `undefined` for nothing. */
export function faultOf(endorsement: Endorsement, digest: string): string | undefined {
  try {
    return describeCollateral(endorsement).digest === digest ? undefined : 'has another digest than its name says'
  } catch (cause) {
    if (cause instanceof EvidenceError) return cause.message
    throw cause
  }
}
