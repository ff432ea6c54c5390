import { EvidenceError, explainEvidence, nearestPolicy, type ReferenceValue } from '@cella/evidence'
import { everyVerifier } from '@cella/evidence/every'
import type { Command } from 'commander'
import { type Cli, does, group, leaf } from '../command.ts'
import type { Context } from '../context.ts'
import { UsageError } from '../error.ts'
import {
  type CmwForm,
  cmwOption,
  type EvidenceFlags,
  evidenceOptions,
  nowOf,
  type PolicyFlags,
  policyOf,
  policyOptions,
  recognisedFile,
  verifyOptions,
  writeEvidence,
  writePolicy,
} from '../evidence-input.ts'
import { checkLines, sheet, warnings } from '../evidence-sheet.ts'
import { collect, parseTime } from '../options.ts'
import { renderPairs } from '../terminal/table.ts'
import { printable } from '../terminal/text.ts'
import { addChallenge } from './challenge.ts'
import { addCollateralCommands } from './collateral.ts'
import { addCollect } from './collect.ts'
import { type ReleaseFlags, releaseValues } from './trust-release.ts'

/** `cella evidence …` */
export function addEvidenceCommands(program: Command, cli: Cli): void {
  const evidence = group(program, 'evidence', 'evidence of TEEs: what a machine is, and whether to accept it')
  addShow(evidence, cli)
  addVerify(evidence, cli)
  addExplain(evidence, cli)
  addTrust(evidence, cli)
  addConvert(evidence, cli)
  addCollect(evidence, cli)
  addChallenge(evidence, cli)
  addCollateralCommands(evidence, cli)
}

function addShow(evidence: Command, cli: Cli): void {
  const show = evidenceOptions(
    leaf(evidence, 'show <file>', {
      summary: 'what machine, what firmware, what was measured, how current, and what is wrong',
      details:
        'Takes the report, quote, document or token as a TEE or its agent returned it, raw, in hexadecimal or base64, or the JSON of other tools. Nothing is fetched. Exit code 0: genuine; 1: not, with the reason. Whether to accept it: cella evidence verify.',
      examples: [
        'cella evidence show quote.bin',
        'cella evidence show report.bin --certificate vcek.pem --certificate ask_ark.pem',
      ],
    }),
  )
  does<EvidenceFlags>(show, cli, async (context, [file], flags) => {
    const { form, evidence: found } = await recognisedFile(file!, flags)
    const options = await verifyOptions(context, flags)
    try {
      const verified = await everyVerifier.verify(found, options)
      return {
        data: { form, genuine: true, claims: verified.entries.map(({ claims }) => claims), checks: verified.checks },
        text: sheet(form, verified, context.style),
      }
    } catch (error) {
      if (!(error instanceof EvidenceError)) throw error
      const { code, message } = error
      const text = `${context.style.red('Not genuine')}: ${printable(form)}\n\n  ${code}: ${printable(message)}`
      return { data: { form, genuine: false, error: { code, message } }, text, exitCode: 1 }
    }
  })
}

function addVerify(evidence: Command, cli: Cli): void {
  const verify = policyOptions(
    leaf(evidence, 'verify <file>', {
      summary: 'is it genuine, and does a policy accept it: every reason against it',
      details: 'Without a network. Exit code 0: accepted; 1: refused, or not genuine.',
      examples: [
        'cella evidence verify quote.bin --policy gcp-tdx --report-data 00ff…',
        'cella evidence verify evidence.json --policy mine.json --collateral collateral.json --json',
      ],
    }),
  )
  does<PolicyFlags>(verify, cli, async (context, [file], flags) => {
    const { form, evidence: found } = await recognisedFile(file!, flags)
    const policy = await policyOf(flags)
    const judgement = await everyVerifier.judge(found, policy, await verifyOptions(context, flags))
    const { allowed, error, result, verified, checks } = judgement
    const notes = allowed ? warnings(policy, context.style) : []
    const text =
      verified === undefined || result === undefined
        ? `${context.style.red('Not genuine')}: ${printable(form)}\n\n  ${error?.code}: ${printable(error?.message ?? '')}`
        : [
            ...explainEvidence(verified, result).map(printable),
            ...notes,
            '',
            ...checkLines(checks, context.style),
          ].join('\n')
    return {
      data: {
        form,
        allowed,
        error: error === undefined ? null : { code: error.code, message: error.message },
        reasons: result?.reasons ?? [],
        status: result?.status ?? 'contraindicated',
        trustVector: result?.trustVector ?? null,
        claims: verified?.entries.map(({ claims }) => claims) ?? [],
        collateralIssuedAt: verified?.collateralIssuedAt ?? null,
        checks,
      },
      text,
      exitCode: allowed ? 0 : 1,
    }
  })
}

function addExplain(evidence: Command, cli: Cli): void {
  const explain = policyOptions(
    leaf(evidence, 'explain <file>', {
      summary: 'the nearest policy that would accept this evidence, as a diff',
      details:
        'For each reason the member that causes it, changed as little as answers it. It says what accepting would mean; whether to is yours to decide. Exit code 0: the policy accepts as it is, or these changes suffice; 1: no change of it does.',
      examples: [
        'cella evidence explain quote.bin --policy azure-tdx',
        'cella evidence explain quote.bin --policy mine.json --output nearer.json',
      ],
    }),
  ).option('--output <file>', 'write the changed policy')
  does<PolicyFlags & { output?: string }>(explain, cli, async (context, [file], flags) => {
    const { evidence: found } = await recognisedFile(file!, flags)
    const policy = await policyOf(flags)
    const verified = await everyVerifier.verify(found, await verifyOptions(context, flags))
    const nearest = nearestPolicy(policy, (changed) => everyVerifier.appraise(verified, changed))
    if (flags.output !== undefined) await writePolicy(flags.output, nearest.policy)
    const { style } = context
    const lines = nearest.changes.flatMap(({ path, from, to, code }) => [
      `${printable(path)}  (${code})`,
      style.red(`  - ${printable(JSON.stringify(from))}`),
      style.green(`  + ${printable(JSON.stringify(to))}`),
    ])
    const rest = nearest.remaining.map(
      ({ code, expected, found: value }) => `  ${code}: expected ${printable(expected)}, found ${printable(value)}`,
    )
    const { checks } = everyVerifier.appraise(verified, policy)
    return {
      data: { changes: nearest.changes, remaining: nearest.remaining, checks },
      text: [
        ...(lines.length === 0 && rest.length === 0 ? ['The policy accepts it as it is.'] : lines),
        ...(rest.length === 0 ? [] : ['', 'No change of the policy answers this; other evidence is needed:', ...rest]),
        '',
        ...checkLines(checks, style),
      ].join('\n'),
      exitCode: rest.length === 0 ? 0 : 1,
    }
  })
}

function addTrust(evidence: Command, cli: Cli): void {
  const trust = evidenceOptions(
    leaf(evidence, 'trust [file]', {
      summary: 'learn reference values: from evidence of a machine that you know to be right, or from a signed release',
      details:
        'Evidence has to be genuine; what it measured comes onto the policy’s list of measurements, or with --register some of it. A release is a Build document (JSON) or a signed CoRIM, taken when a key of --signer signed it; for a CoRIM --names says what its names stand for: {"elements": {"KEY": "mrtd"}, "registers": "rtmr", "hash": "sha-384"}. Everything else of the policy stays.',
      examples: [
        'cella evidence trust quote.bin --policy gcp-tdx --output mine.json',
        'cella evidence trust quote.bin --policy mine.json --register mrtd --register rtmr1 --output newer.json',
        'cella evidence trust --release build.json --signer builder.pem --policy mine.json --output newer.json',
      ],
    }),
  )
    .requiredOption('--policy <policy>', 'the policy to start from: a file or a preset')
    .option('--register <name>', 'a measured register to pin; may be repeated; all of them unless given', collect)
    .option('--until <time>', 'when the reference value ends')
    .option('--release <file>', 'a signed release, in place of evidence')
    .option('--signer <file>', 'public key of who may release, PEM or DER; may be repeated', collect)
    .option('--names <file>', 'what the names in a CoRIM stand for')
    .requiredOption('--output <file>', 'the policy to write')
  does<TrustFlags>(trust, cli, async (context, [file], flags) => {
    if ((file === undefined) === (flags.release === undefined)) {
      throw new UsageError('give a file of evidence or --release', 'one of the two')
    }
    const policy = await policyOf(flags)
    const { release } = flags
    const values =
      release === undefined
        ? [await learntValue(context, file!, flags)]
        : await releaseValues({ ...flags, release }, policy, nowOf(flags))
    const known = policy.measurements === 'any' ? [] : policy.measurements
    await writePolicy(flags.output, { ...policy, measurements: [...known, ...values] })
    const rows = values.flatMap((value) =>
      Object.entries(typeof value === 'string' ? { measurement: value } : value.measurements),
    )
    return {
      data: { references: values, file: flags.output },
      text: `${renderPairs(rows, context.style)}\n\nwritten into ${flags.output}, beside ${known.length} values that were there`,
    }
  })
}

type TrustFlags = EvidenceFlags &
  Partial<ReleaseFlags> & { policy: string; register?: string[]; until?: string; output: string }

async function learntValue(context: Context, file: string, flags: TrustFlags): Promise<ReferenceValue> {
  const { evidence: found } = await recognisedFile(file, flags)
  const { claims } = await everyVerifier.verify(found, await verifyOptions(context, flags))
  const names = flags.register ?? Object.keys(claims.measurements)
  const unknown = names.find((name) => !Object.hasOwn(claims.measurements, name))
  if (unknown !== undefined) {
    throw new UsageError(
      `--register ${unknown}: is not measured`,
      `one of ${Object.keys(claims.measurements).join(', ')}`,
    )
  }
  return {
    measurements: Object.fromEntries(names.map((name) => [name, claims.measurements[name]!])),
    notBefore: 'any',
    notAfter: flags.until === undefined ? 'any' : parseTime(flags.until, 'end'),
  }
}

function addConvert(evidence: Command, cli: Cli): void {
  const convert = leaf(evidence, 'convert <file>', {
    summary: 'the same evidence in Cella’s own form, or wrapped for other verifiers',
    details: 'From whatever form it has. Nothing is verified: cella evidence verify does that, on either.',
    examples: [
      'cella evidence convert report.bin --certificate vcek.pem --output evidence.json',
      'cella evidence convert evidence.json --cmw cbor --output evidence.cmw',
    ],
  })
    .option('--certificate <file>', 'a certificate that the evidence lacks, PEM or DER; may be repeated', collect)
    .addOption(cmwOption)
    .requiredOption('--output <file>', 'the file to write')
  type Flags = Pick<EvidenceFlags, 'certificate'> & { cmw?: CmwForm; output: string }
  does<Flags>(convert, cli, async (_, [file], flags) => {
    const { form, evidence: found } = await recognisedFile(file!, flags)
    await writeEvidence(flags.output, found, flags.cmw)
    const formats = found.entries.map(({ format }) => format)
    return { data: { form, formats, file: flags.output }, text: `${printable(form)} written into ${flags.output}` }
  })
}
