/** One thing that was looked at. */
export interface Check {
  /** Stable, in kebab case, with the family first: `tdx-quote-signature`. */
  readonly code: string
  readonly outcome: 'passed' | 'failed' | 'not-applicable'
  readonly expected: string
  readonly found: string
}

/** What a verification looked at, in its order. A failed check ends it, so what follows was not looked at. */
export class CheckLog {
  readonly #checks: Check[] = []

  get list(): readonly Check[] {
    return this.#checks
  }

  passed(code: string, expected: string, found = expected): void {
    this.#checks.push({ code, outcome: 'passed', expected, found })
  }

  /** `why` says what is absent, so that a reader sees that it was not forgotten. */
  notApplicable(code: string, why: string): void {
    this.#checks.push({ code, outcome: 'not-applicable', expected: 'nothing to check', found: why })
  }

  failed(code: string, expected: string, found: string): void {
    this.#checks.push({ code, outcome: 'failed', expected, found })
  }
}
