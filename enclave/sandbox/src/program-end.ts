/** How a run ended: all that the operator is told. */
export type SandboxStatus =
  | 'ok'
  | 'exit-nonzero'
  | 'trap'
  | 'out-of-fuel'
  | 'out-of-memory'
  | 'call-depth'
  | 'deadline'
  | 'output-too-large'
  | 'not-admitted'
  | 'runner-lost'

/** Thrown by a host function to end the program. No admitted program can catch it: exceptions are not admitted. */
export class ProgramEnd extends Error {
  readonly status: 'ok' | 'exit-nonzero' | 'out-of-fuel' | 'output-too-large'
  readonly exitCode: number | null
  constructor(status: ProgramEnd['status'], exitCode: number | null = null) {
    super(status)
    this.name = 'ProgramEnd'
    this.status = status
    this.exitCode = exitCode
  }
}
