/**
 * Bytes or text that do not have the form they claim. `code` is stable, `field` names the part, `message` is for people.
 * Never carries the bytes themselves: they may be secret.
 */
export class FormatError extends Error {
  readonly code = 'ERR_FORMAT_MALFORMED'
  readonly field: string
  constructor(field: string, problem: string, options?: ErrorOptions) {
    super(`${field}: ${problem}`, options)
    this.name = 'FormatError'
    this.field = field
  }
}
