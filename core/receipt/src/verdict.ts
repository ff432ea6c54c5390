import { type Catalogue, type receiptWords, sentence } from './words.ts'

export type Parameters = Readonly<Record<string, string | number>>

/** One sentence of a verdict. `code` is stable, `text` is for people. */
export interface Statement {
  readonly code: string
  readonly text: string
  readonly parameters: Parameters
}

export interface Verdict {
  /**
   * - `proved`: everything that a receipt shows holds, under the verifier's own anchors
   * - `disproved`: something in it is wrong; `wrong` says what
   * - `cannot-tell`: nothing is wrong, but the verifier lacks anchors or documents; `missing` says which
   */
  readonly outcome: 'proved' | 'disproved' | 'cannot-tell'
  readonly statements: readonly Statement[]
  readonly notProved: readonly Statement[]
  readonly wrong: readonly Statement[]
  readonly missing: readonly Statement[]
}

/** Collects sentences of one catalogue. What is wrong outweighs what is missing. */
export class Findings<Words extends Catalogue = typeof receiptWords> {
  readonly #words: Words
  readonly #proved: Statement[] = []
  readonly #notProved: Statement[] = []
  readonly #wrong: Statement[] = []
  readonly #missing: Statement[] = []

  constructor(words: Words) {
    this.#words = words
  }

  proved(code: keyof Words['proved'] & string, parameters: Parameters): void {
    this.#proved.push({ code, text: sentence(this.#words.proved, code, parameters), parameters })
  }

  notProved(code: keyof Words['notProved'] & string, parameters: Parameters): void {
    this.#notProved.push({ code, text: sentence(this.#words.notProved, code, parameters), parameters })
  }

  wrong(code: keyof Words['wrong'] & string, parameters: Parameters): void {
    this.#wrong.push({ code, text: sentence(this.#words.wrong, code, parameters), parameters })
  }

  missing(code: keyof Words['missing'] & string, parameters: Parameters): void {
    const text = sentence(this.#words.missing, code, parameters)
    if (!this.#missing.some((known) => known.text === text)) this.#missing.push({ code, text, parameters })
  }

  get isClean(): boolean {
    return this.#wrong.length === 0 && this.#missing.length === 0
  }

  verdict(): Verdict {
    const outcome = this.#wrong.length > 0 ? 'disproved' : this.#missing.length > 0 ? 'cannot-tell' : 'proved'
    return {
      outcome,
      // What was established on the way proves nothing once the whole does not hold.
      statements: outcome === 'proved' ? inOrder(this.#proved, this.#words.proved) : [],
      notProved: outcome === 'proved' ? inOrder(this.#notProved, this.#words.notProved) : [],
      wrong: this.#wrong,
      missing: this.#missing,
    }
  }
}

/** As the catalogue has them: what happened first, then who allowed it, then what came of it. */
function inOrder(statements: readonly Statement[], words: Readonly<Record<string, string>>): Statement[] {
  const order = Object.keys(words)
  return [...statements].sort((a, b) => order.indexOf(a.code) - order.indexOf(b.code))
}
