import { FormatError, type Json } from '@cella/bytes'
import { DocumentError } from '@cella/documents'
import { EventError } from '@cella/events'
import { LogError, type LogPolicy, type WitnessTimes } from '@cella/log'
import { type Anchors, Findings, ReceiptError, timesInWords, type Verdict } from '@cella/receipt'
import type { FileAnchors } from './anchors.ts'
import { logWords } from './words.ts'

/** What a file is judged with, all of it the verifier's own. */
export interface JudgeOptions {
  readonly anchors: FileAnchors
  /** What was logged, where the file does not hold it: the entry, the statement, the file that was signed for. */
  readonly entry?: Uint8Array | undefined
  /** DER SubjectPublicKeyInfo of who has to have signed, where the log's policy does not say it. */
  readonly key?: Uint8Array | undefined
}

/** What a judge of one kind of file works with. */
export interface Judging extends JudgeOptions {
  readonly bytes: Uint8Array
  readonly findings: Findings<typeof logWords>
}

/** What the file is about, for programs. */
export type About = Readonly<Record<string, Json>>

/** Witnesses' clocks may be this much ahead of the verifier's. */
const clockSkewSeconds = 300

/**
 * Runs `judge` and turns what it throws into sentences: unknown logs and missing cosignatures leave it untold, everything
 * else that is wrong with a file disproves it.
 */
export async function findingsOf(
  bytes: Uint8Array,
  options: JudgeOptions,
  judge: (judging: Judging) => About | Promise<About>,
): Promise<{ verdict: Verdict; about: About }> {
  const findings = new Findings(logWords)
  let about: About = {}
  try {
    about = await judge({ ...options, bytes, findings })
  } catch (error) {
    const known =
      error instanceof LogError ||
      error instanceof EventError ||
      error instanceof ReceiptError ||
      error instanceof DocumentError
    if (error instanceof FormatError) findings.wrong('PROOF', { problem: error.message, code: 'ERR_LOG_MALFORMED' })
    else if (!known) throw error
    else if (error.code === 'ERR_LOG_ORIGIN') findings.missing('LOG_UNKNOWN', { problem: error.message })
    else if (error.code === 'ERR_LOG_QUORUM') findings.missing('QUORUM', { problem: error.message })
    else findings.wrong('PROOF', { problem: error.message, code: error.code })
  }
  return { verdict: findings.verdict(), about }
}

/** Uses the policy that names the log. Throws ERR_LOG_ORIGIN where none does. */
export function underPolicy<T>(
  { logs }: Anchors,
  use: (policy: LogPolicy) => T,
): { found: T; independent: readonly string[] } {
  let unknown = new LogError('ERR_LOG_ORIGIN', 'you named no log')
  for (const { policy, independentWitnesses } of logs) {
    try {
      return { found: use(policy), independent: independentWitnesses }
    } catch (error) {
      if (!(error instanceof LogError) || error.code !== 'ERR_LOG_ORIGIN') throw error
      unknown = error
    }
  }
  throw unknown
}

/** Who saw the checkpoint, when, and what that leaves open. Returns the words for a sentence, `undefined` without witnesses. */
export function describeWitnesses(
  { findings, anchors }: Judging,
  seen: {
    readonly witnesses: readonly string[]
    readonly times: WitnessTimes | undefined
    readonly independent: readonly string[]
  },
): { witnesses: string; when: string } | undefined {
  const { witnesses, times, independent } = seen
  if (times === undefined) {
    findings.notProved('TIME_IS_THE_HOSTS', {})
    return undefined
  }
  if (times.earliest > anchors.now + clockSkewSeconds) {
    const text = (seconds: number): string => new Date(seconds * 1000).toISOString()
    findings.wrong('FUTURE', { earliest: text(times.earliest), now: text(anchors.now) })
  }
  const names = witnesses.join(', ')
  if (!witnesses.some((name) => independent.includes(name))) {
    findings.notProved('NOBODY_INDEPENDENT_WATCHED', { witnesses: names })
  }
  return { witnesses: names, when: timesInWords(times) }
}
