import type { Operator } from './operator.ts'
import type { Party } from './parties.ts'
import type { Stage } from './stage.ts'

/** What a story is played with: an installation that runs, the operator between it and everyone, and where all goes. */
export interface Cast {
  readonly stage: Stage
  readonly operator: Operator
  readonly operatorUrl: string
  readonly folder: string
}

/** What is left when a story has been told. */
export interface Told {
  readonly receiptPath: string
  readonly receiver: Party
}

/** The story can't go on, and what to do about it. */
export class DemoError extends Error {
  readonly hint: string
  constructor(message: string, hint: string) {
    super(message)
    this.name = 'DemoError'
    this.hint = hint
  }
}
