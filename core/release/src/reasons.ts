/** Who can do something about a refusal. */
export type WhoCanChange = 'publisher' | 'author' | 'operator' | 'receiver' | 'approver' | 'regulator' | 'nobody'

/** Why something is refused: a stable code, the clause or member that says so, what it wanted and what there was. */
export interface Reason {
  readonly code: string
  readonly clause: string
  readonly expected: string
  readonly got: string
  readonly whoCanChange: WhoCanChange
}

/** A reason that stands in a document of the contract rather than in a policy. */
export function reason(
  code: string,
  clause: string,
  { expected, got, whoCanChange }: { expected: string; got: string; whoCanChange: WhoCanChange },
): Reason {
  return { code, clause, expected, got, whoCanChange }
}
