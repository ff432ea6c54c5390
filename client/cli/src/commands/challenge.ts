import { canonicalJson, type Digest, decodeBase64url, decodeHex, encodeHex, FormatError } from '@cella/bytes'
import { digestField } from '@cella/documents'
import {
  bindingDigestOf,
  challengedRoles,
  encodeEvidence,
  evidenceDigest,
  judgeEvidence,
  type VerifiedEvidence,
} from '@cella/evidence'
import { keyIdOf } from '@cella/primitives'
import { appraiseChallenged, type ChallengeAnswer, challenge, fetchFor } from '@cella/sdk'
import { type Command, Option } from 'commander'
import { type Cli, does, leaf } from '../command.ts'
import type { Context } from '../context.ts'
import { UsageError } from '../error.ts'
import { type EvidenceFlags, evidenceOptions, policyOf, verifyOptions } from '../evidence-input.ts'
import { dayText, warnings } from '../evidence-sheet.ts'
import { writeNewFile } from '../files.ts'
import { renderPairs } from '../terminal/table.ts'
import { printable } from '../terminal/text.ts'

interface ChallengeFlags extends EvidenceFlags {
  readonly policy?: string
  readonly role?: ChallengeAnswer['of']
  readonly output?: string
}

/** `cella evidence challenge` */
export function addChallenge(evidence: Command, cli: Cli): void {
  const command = evidenceOptions(
    leaf(evidence, 'challenge <url>', {
      summary: 'ask a live vault, worker, log signer or attestation service what it is, and appraise the answer',
      details:
        'It is asked for evidence over a nonce of this moment, which nobody can have made before, and which no release can be made with. Judged by --policy, or by your organisation’s own terms. A manager answers for its vaults at /v1/vaults/ID, for its workers at /v1/workers/NAME (GET /v1/workers lists them), for its attestation service at /attest. Exit code 0: acceptable; 1: refused, with every reason; 3: no answer.',
      examples: [
        'cella evidence challenge http://127.0.0.1:7411/v1/workers/worker-1',
        'cella evidence challenge https://attest.example.org --role attestation-service --policy mine.json',
      ],
    }),
  )
    .option('--policy <policy>', 'a policy file or a preset, in place of your organisation’s terms')
    .addOption(new Option('--role <role>', 'what has to answer').choices([...challengedRoles]))
    .option('--output <file>', 'write the evidence, and its binding beside it as FILE.binding')
  does<ChallengeFlags>(command, cli, async (context, [url], flags) => {
    const organisation = flags.policy === undefined ? await ownOrganisation(context) : undefined
    const answer = await challenge(url!, { fetch: await fetchOf(context, url!) })
    if (flags.output !== undefined) await writeAnswer(flags.output, answer)
    const judged =
      organisation === undefined
        ? await byPolicy(context, answer, { ...flags, policy: flags.policy! })
        : await byTerms(context, answer, organisation)
    const reasons = [
      ...(flags.role === undefined || flags.role === answer.of
        ? []
        : [{ code: 'ERR_CHALLENGE_ROLE', text: `expected a ${flags.role}, a ${answer.of} answered` }]),
      ...judged.reasons,
    ]
    const { verified, build } = judged
    return {
      data: {
        allowed: reasons.length === 0,
        role: answer.of,
        binding: answer.binding,
        evidence: evidenceDigest(answer.evidence),
        seconds: answer.seconds,
        build,
        claims: verified?.claims ?? null,
        reasons,
      },
      text: [
        reasons.length === 0 ? context.style.green('Acceptable') : context.style.red('Refused'),
        renderPairs([...whatAnswered(answer, verified, build), ...about(answer)], context.style),
        ...(reasons.length === 0
          ? judged.notes
          : reasons.map(({ code, text }) => `${context.style.red('✗')} ${code}: ${printable(text)}`)),
      ].join('\n\n'),
      exitCode: reasons.length === 0 ? 0 : 1,
    }
  })
}

interface Judged {
  readonly reasons: readonly { readonly code: string; readonly text: string }[]
  readonly verified: VerifiedEvidence | undefined
  /** The accepted build that it runs, in words; null where only a policy was asked. */
  readonly build: string | null
  readonly notes: readonly string[]
}

/** What is below the profile's own manager is reached as that is. */
async function fetchOf(context: Context, url: string): Promise<typeof fetch> {
  const home = await context.home()
  const { manager } = await home.profile()
  return fetchFor(home, manager !== null && url.startsWith(`${manager}/`) ? manager : url)
}

async function ownOrganisation(context: Context): Promise<Digest> {
  const { organisation } = await (await context.home()).profile()
  const parsed = digestField.safeParse(organisation)
  if (parsed.success) return parsed.data
  throw new UsageError(
    'nothing says what is acceptable: no --policy is given, and this profile has no organisation with terms',
    '--policy FILE, or one of the presets that cella evidence verify --help names',
  )
}

async function byTerms(context: Context, answer: ChallengeAnswer, organisation: Digest): Promise<Judged> {
  const { appraisal, verified } = await appraiseChallenged(await context.session(), answer, organisation)
  const { reasons, build } = appraisal
  return {
    reasons: reasons.map(({ code, clause, expected, got }) => ({
      code,
      text: `${clause}: expected ${expected}, got ${got}`,
    })),
    verified,
    build: build === undefined ? null : `release ${build.payload.release}, build ${build.digest}`,
    notes: [],
  }
}

async function byPolicy(
  context: Context,
  { evidence, binding }: ChallengeAnswer,
  flags: EvidenceFlags & { policy: string },
): Promise<Judged> {
  const policy = { ...(await policyOf(flags)), reportData: { binding } }
  const { error, result, verified } = await judgeEvidence(evidence, policy, await verifyOptions(context, flags))
  return {
    reasons:
      error === undefined
        ? (result?.reasons ?? []).map(({ code, expected, found }) => ({
            code,
            text: `expected ${expected}, found ${found}`,
          }))
        : [{ code: error.code, text: error.message }],
    verified,
    build: null,
    notes: warnings(policy, context.style),
  }
}

/** Who says it is what, and what vouches for that. */
function whatAnswered(
  { of, seconds, binding }: ChallengeAnswer,
  verified: VerifiedEvidence | undefined,
  build: string | null,
): (readonly [string, string])[] {
  if (verified === undefined) return [['role', `${of}, by its own word: its evidence is not genuine`]]
  const { claims, collateralIssuedAt, notAfter } = verified
  const field = decodeHex(claims.reportData ?? '', 'reportData')
  const expected = bindingDigestOf(binding, field.length)
  const isFresh = expected !== undefined && encodeHex(expected) === encodeHex(field)
  return [
    ['role', of],
    ['build', build ?? 'known by its measurement alone'],
    ['measurement', claims.measurement],
    ['TEE', claims.simulated ? `${claims.tee}, SIMULATED: no hardware protects it` : claims.tee],
    ['boundary', claims.boundary ?? 'none'],
    ['debug', claims.debug ? 'ON: the host can read its memory' : 'off'],
    ['chip', claims.platformId ?? 'not named'],
    ['firmware', claims.tcb.status ?? 'not rated here'],
    [
      'how current',
      isFresh
        ? `made in the last ${seconds.toFixed(2)} s, over this call’s nonce`
        : 'not known: it is over something else',
    ],
    ['collateral', collateralIssuedAt === undefined ? 'none for some part' : `of ${dayText(collateralIssuedAt)}`],
    ['verifiable until', Number.isFinite(notAfter) ? dayText(notAfter) : 'no end'],
  ].map(([name, value]) => [name!, printable(value!)] as const)
}

/** What it says of itself, which its evidence binds. */
function about({ binding }: ChallengeAnswer): (readonly [string, string])[] {
  const { role: _role, of: _of, nonce: _nonce, signingKey, ...others } = binding
  return [
    ...(typeof signingKey === 'string' ? [['signing key', keyText(signingKey)] as const] : []),
    ...Object.entries(others).map(
      ([name, value]) =>
        [printable(name), printable(typeof value === 'string' ? value : canonicalJson(value))] as const,
    ),
  ]
}

function keyText(signingKey: string): string {
  try {
    return keyIdOf(decodeBase64url(signingKey, 'signingKey'))
  } catch (error) {
    if (error instanceof FormatError || error instanceof RangeError) return printable(signingKey)
    throw error
  }
}

async function writeAnswer(file: string, { evidence, binding }: ChallengeAnswer): Promise<void> {
  const more = { mode: 0o644, hint: 'choose another name' }
  await writeNewFile(file, encodeEvidence(evidence), more)
  await writeNewFile(`${file}.binding`, canonicalJson(binding), more)
}
