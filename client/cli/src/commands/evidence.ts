import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { decodeHex, FormatError, type Json, parseCanonicalJson } from '@cella/bytes'
import { fetchCollateral, missingCollateral, openCollateralFolder, vendorServices } from '@cella/collateral'
import {
  type AppraisalPolicy,
  appraisalPolicyJson,
  appraiseEvidence,
  type Check,
  type Claims,
  collateralBytesMax,
  collateralNeeds,
  type Endorsement,
  Endorsements,
  EvidenceError,
  encodeCollateral,
  explainEvidence,
  judgeEvidence,
  nearestPolicy,
  parseAppraisalPolicy,
  presets,
  type RecognisedEvidence,
  readCollateral,
  recogniseEvidence,
  type TrustedRoot,
  type VerifiedEvidence,
  type VerifyOptions,
  vendorRoots,
  verifyEvidence,
} from '@cella/evidence'
import type { Command } from 'commander'
import { type Cli, does, group, leaf } from '../command.ts'
import type { Context } from '../context.ts'
import { CliError, UsageError } from '../error.ts'
import { readBytesFile, readJsonFile, writeNewFile } from '../files.ts'
import { collect, parseTime } from '../options.ts'
import type { Style } from '../terminal/style.ts'
import { renderPairs, renderTable } from '../terminal/table.ts'
import { printable } from '../terminal/text.ts'

const evidenceFileMax = 4_194_304

/** How evidence in a file is to be judged: shared by every command that reads one. */
interface EvidenceFlags {
  readonly certificate?: string[]
  readonly collateral?: string[]
  readonly root?: string[]
  readonly at?: string
}

interface PolicyFlags extends EvidenceFlags {
  readonly policy: string
  readonly reportData?: string
  readonly binding?: string
}

function evidenceOptions(command: Command): Command {
  return command
    .option('--certificate <file>', 'a certificate that the evidence lacks, PEM or DER; may be repeated', collect)
    .option('--collateral <path>', 'a folder, bundle or file of collateral beside your own; may be repeated', collect)
    .option(
      '--root <file>',
      'JSON list of roots to trust beside the vendors’ and your anchors’; may be repeated',
      collect,
    )
    .option('--at <time>', 'judge as of this moment, in place of now')
}

function policyOptions(command: Command): Command {
  return evidenceOptions(command)
    .requiredOption('--policy <policy>', `a policy file, or a preset: ${presets.map(({ name }) => name).join(', ')}`)
    .option('--report-data <hex>', 'the bytes that the evidence has to carry, in place of the policy’s')
    .option('--binding <file>', 'the JSON whose digest the evidence has to carry, in place of the policy’s')
}

/** `cella evidence …` */
export function addEvidenceCommands(program: Command, cli: Cli): void {
  const evidence = group(program, 'evidence', 'evidence of TEEs: what a machine is, and whether to accept it')
  addShow(evidence, cli)
  addVerify(evidence, cli)
  addExplain(evidence, cli)
  addTrust(evidence, cli)
  addCollateral(evidence, cli)
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
      const verified = await verifyEvidence(found, options)
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
    const judgement = await judgeEvidence(found, policy, await verifyOptions(context, flags))
    const { allowed, error, result, verified, checks } = judgement
    const notes = allowed ? warnings(policy, context.style) : []
    const text =
      verified === undefined || result === undefined
        ? `${context.style.red('Not genuine')}: ${printable(form)}\n\n  ${error?.code}: ${printable(error?.message ?? '')}`
        : [...explainEvidence(verified, result).map(printable), ...notes].join('\n')
    return {
      data: {
        form,
        allowed,
        error: error === undefined ? null : { code: error.code, message: error.message },
        reasons: result?.reasons ?? [],
        status: result?.status ?? 'contraindicated',
        trustVector: result?.trustVector ?? null,
        claims: verified?.entries.map(({ claims }) => claims) ?? [],
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
    const verified = await verifyEvidence(found, await verifyOptions(context, flags))
    const nearest = nearestPolicy(policy, (changed) => appraiseEvidence(verified, changed))
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
    return {
      data: { changes: nearest.changes, remaining: nearest.remaining },
      text: [
        ...(lines.length === 0 && rest.length === 0 ? ['The policy accepts it as it is.'] : lines),
        ...(rest.length === 0 ? [] : ['', 'No change of the policy answers this; other evidence is needed:', ...rest]),
      ].join('\n'),
      exitCode: rest.length === 0 ? 0 : 1,
    }
  })
}

function addTrust(evidence: Command, cli: Cli): void {
  const trust = evidenceOptions(
    leaf(evidence, 'trust <file>', {
      summary: 'learn reference values from evidence of a machine that you know to be right',
      details:
        'The evidence has to be genuine. What it measured comes onto the policy’s list of measurements; everything else of the policy stays. Say --register to pin some registers only.',
      examples: [
        'cella evidence trust quote.bin --policy gcp-tdx --output mine.json',
        'cella evidence trust quote.bin --policy mine.json --register mrtd --register rtmr1 --output newer.json',
      ],
    }),
  )
    .requiredOption('--policy <policy>', 'the policy to start from: a file or a preset')
    .option('--register <name>', 'a measured register to pin; may be repeated; all of them unless given', collect)
    .option('--until <time>', 'when the reference value ends')
    .requiredOption('--output <file>', 'the policy to write')
  type Flags = EvidenceFlags & { policy: string; register?: string[]; until?: string; output: string }
  does<Flags>(trust, cli, async (context, [file], flags) => {
    const { evidence: found } = await recognisedFile(file!, flags)
    const policy = await policyOf(flags)
    const { claims } = await verifyEvidence(found, await verifyOptions(context, flags))
    const names = flags.register ?? Object.keys(claims.measurements)
    const unknown = names.find((name) => !Object.hasOwn(claims.measurements, name))
    if (unknown !== undefined) {
      throw new UsageError(
        `--register ${unknown}: is not measured`,
        `one of ${Object.keys(claims.measurements).join(', ')}`,
      )
    }
    const reference = {
      measurements: Object.fromEntries(names.map((name) => [name, claims.measurements[name]!])),
      notBefore: 'any',
      notAfter: flags.until === undefined ? 'any' : parseTime(flags.until, 'end'),
    } as const
    const known = policy.measurements === 'any' ? [] : policy.measurements
    await writePolicy(flags.output, { ...policy, measurements: [...known, reference] })
    const values = Object.entries(reference.measurements)
    return {
      data: { reference, file: flags.output },
      text: `${renderPairs(values, context.style)}\n\nwritten into ${flags.output}, beside ${known.length} values that were there`,
    }
  })
}

function addCollateral(evidence: Command, cli: Cli): void {
  const collateral = group(evidence, 'collateral', 'certificates, revocation lists and ratings of vendors, kept here')
  const list = leaf(collateral, 'list', {
    summary: 'what is kept, and until when it holds',
    examples: ['cella evidence collateral list'],
  })
  does<Record<string, never>>(list, cli, async (context) => {
    const held = await (await ownCollateral(context)).list(nowOf({}))
    const rows = held.map(({ subject, notAfter, state }) => [
      subject,
      notAfter === undefined ? null : dayText(notAfter),
      state === 'in-force' ? 'in force' : state === 'expired' ? 'expired: fetch it again' : 'not yet in force',
    ])
    const columns = ['what', 'until', 'state'].map((name) => ({ name, align: 'left' }) as const)
    return {
      data: { collateral: held },
      text: held.length === 0 ? 'nothing is kept yet' : renderTable({ columns, rows }, context),
    }
  })
  const importing = leaf(collateral, 'import <file...>', {
    summary: 'keep collateral of files: a bundle, PEM, DER, or a vendor’s answer',
    details: 'Of a list or rating the edition issued last stays: an import never takes you back in time.',
    examples: ['cella evidence collateral import collateral.json', 'cella evidence collateral import vcek.der crl.der'],
  })
  does<Record<string, never>>(importing, cli, async (context, files) => {
    const given: Endorsement[] = []
    for (const file of files) given.push(...(await collateralFile(file)))
    const { added, ignored } = await (await ownCollateral(context)).add(given)
    return {
      data: { added: added.length, ignored: ignored.length },
      text: `${added.length} kept, ${ignored.length} that were there already or older`,
    }
  })
  const exporting = leaf(collateral, 'export', {
    summary: 'one file with all that is kept, for a machine without a network',
    examples: ['cella evidence collateral export --output collateral.json'],
  }).requiredOption('--output <file>', 'the file to write')
  does<{ output: string }>(exporting, cli, async (context, _, { output }) => {
    const pieces = await (await ownCollateral(context)).pieces()
    await writeNewFile(output, encodeCollateral(pieces), { mode: 0o644, hint: 'choose another name' })
    return { data: { pieces: pieces.length, file: output }, text: `${pieces.length} pieces in ${output}` }
  })
  const fetching = leaf(collateral, 'fetch <evidence...>', {
    summary: 'ask the vendors for what these machines’ evidence needs',
    details:
      'AMD’s KDS answers about one request in ten seconds. What is kept and holds for another --margin days is not asked for again.',
    examples: [
      'cella evidence collateral fetch quote.bin',
      'cella evidence collateral fetch report.bin --intel https://pccs.example:8081',
    ],
  })
    .option('--amd <url>', 'in place of AMD’s key distribution service')
    .option('--intel <url>', 'a PCCS in place of Intel’s provisioning certification service')
    .option('--intel-certificates <url>', 'in place of Intel’s server of root lists')
    .option('--margin <days>', 'how long what is kept has to hold', '1')
  type Fetch = { amd?: string; intel?: string; intelCertificates?: string; margin: string }
  does<Fetch>(fetching, cli, async (context, files, flags) => {
    const store = await ownCollateral(context)
    const held = await store.endorsements()
    const found = await Promise.all(files.map((file) => recognisedFile(file, {})))
    const needs = found.flatMap(({ evidence: one }) => collateralNeeds(one, held))
    const margin = Number(flags.margin) * 86_400
    if (!Number.isFinite(margin) || margin < 0) throw new UsageError(`--margin ${flags.margin}: is no number of days`)
    const missing = missingCollateral(needs, await store.pieces(), { now: nowOf({}), margin })
    const services = {
      'amd-kds': flags.amd ?? vendorServices['amd-kds'],
      'intel-pcs': flags.intel ?? vendorServices['intel-pcs'],
      'intel-certificates': flags.intelCertificates ?? vendorServices['intel-certificates'],
    }
    const fetched = await fetchCollateral(missing, {
      services,
      onAnswer: (_need, outcome, detail) => context.say(`${outcome}: ${printable(detail)}`),
    })
    const { added } = await store.add(fetched)
    return {
      data: { needed: needs.length, asked: missing.length, added: added.length },
      text:
        missing.length === 0
          ? `nothing to fetch: all ${needs.length} are kept and hold`
          : `${missing.length} asked for, ${added.length} new pieces kept`,
    }
  })
}

async function ownCollateral(context: Context): Promise<ReturnType<typeof openCollateralFolder>> {
  const { folder } = await context.home()
  return openCollateralFolder(join(folder, 'collateral'))
}

async function recognisedFile(file: string, flags: EvidenceFlags): Promise<RecognisedEvidence> {
  const bytes = await readBytesFile(file, evidenceFileMax)
  const certificates = await Promise.all((flags.certificate ?? []).map((path) => readBytesFile(path, 65_536)))
  return recogniseEvidence(bytes, certificates)
}

async function verifyOptions(context: Context, flags: EvidenceFlags): Promise<VerifyOptions> {
  const own = await ownCollateral(context)
  const given: Endorsement[] = [...(await own.pieces())]
  for (const path of flags.collateral ?? []) {
    const isFolder = (await stat(path).catch(() => undefined))?.isDirectory() === true
    given.push(...(isFolder ? await openCollateralFolder(path).pieces() : await collateralFile(path)))
  }
  const home = await context.home()
  const { roots } = await home.anchors()
  const more = await Promise.all((flags.root ?? []).map(rootsFile))
  return { roots: [...vendorRoots, ...roots, ...more.flat()], endorsements: new Endorsements(given), now: nowOf(flags) }
}

async function collateralFile(path: string): Promise<readonly Endorsement[]> {
  try {
    return readCollateral(await readBytesFile(path, collateralBytesMax))
  } catch (cause) {
    if (!(cause instanceof EvidenceError)) throw cause
    throw new CliError('ERR_FILE', `${path}: ${cause.message}`, 'see docs/formats/collateral.md', { cause })
  }
}

async function rootsFile(path: string): Promise<TrustedRoot[]> {
  const value = await readJsonFile(path)
  const sound =
    Array.isArray(value) &&
    value.every(
      (root) =>
        typeof root?.tee === 'string' && /^[0-9a-f]{64}$/.test(root?.spki) && typeof root?.simulated === 'boolean',
    )
  if (!sound) {
    throw new CliError(
      'ERR_FILE',
      `${path} is not a list of roots`,
      '[{"tee": "tdx", "spki": SHA-256 of the SubjectPublicKeyInfo, "simulated": false}]',
    )
  }
  return value as TrustedRoot[]
}

function nowOf({ at }: EvidenceFlags): number {
  return at === undefined ? Math.floor(Date.now() / 1000) : parseTime(at, 'start')
}

async function policyOf(flags: { policy: string; reportData?: string; binding?: string }): Promise<AppraisalPolicy> {
  const preset = presets.find(({ name }) => name === flags.policy)
  const policy = preset?.policy ?? (await policyFile(flags.policy))
  if (flags.reportData !== undefined && flags.binding !== undefined) {
    throw new UsageError('--report-data and --binding say the same thing', 'give one of them')
  }
  if (flags.reportData !== undefined) {
    try {
      return { ...policy, reportData: decodeHex(flags.reportData, '--report-data') }
    } catch (cause) {
      if (!(cause instanceof FormatError)) throw cause
      throw new UsageError(cause.message, 'bytes in lower-case hexadecimal', { cause })
    }
  }
  if (flags.binding === undefined) return policy
  const binding = parseCanonicalJson(await readBytesFile(flags.binding, 65_536), flags.binding, 65_536)
  return { ...policy, reportData: { binding: binding as { readonly [name: string]: Json } } }
}

async function policyFile(path: string): Promise<AppraisalPolicy> {
  const value = (await readJsonFile(path)) as Json
  try {
    return parseAppraisalPolicy(value)
  } catch (cause) {
    if (!(cause instanceof EvidenceError)) throw cause
    throw new CliError('ERR_FILE', `${path}: ${cause.message}`, 'see docs/formats/attestation-policy.md', { cause })
  }
}

async function writePolicy(path: string, policy: AppraisalPolicy): Promise<void> {
  const text = `${JSON.stringify(appraisalPolicyJson(policy), undefined, 2)}\n`
  await writeNewFile(path, text, { mode: 0o644, hint: 'choose another name' })
}

/** What an accepting policy left open: said, because a preset alone proves nothing about code and freshness. */
function warnings({ measurements, reportData }: AppraisalPolicy, style: Style): string[] {
  const open = [
    ...(measurements === 'any' ? ['any code: pin it with cella evidence trust'] : []),
    ...(reportData === 'any' ? ['evidence of any moment and for any key: give --report-data or --binding'] : []),
  ]
  return open.map((what) => `${style.yellow('note:')} the policy accepts ${what}`)
}

/** A person-readable sheet of genuine evidence. */
function sheet(form: string, verified: VerifiedEvidence, style: Style): string {
  const lines = verified.entries.flatMap(({ claims, root }, at) => [
    ...(at > 0 ? [''] : []),
    claims.simulated ? style.red('SIMULATED: no hardware protects what runs there') : style.green('Genuine'),
    renderPairs(pairsOf(form, claims, root?.spki), style),
    '',
    style.dim('measured'),
    renderPairs(Object.entries(claims.measurements), style),
  ])
  const until = Number.isFinite(verified.notAfter) ? dayText(verified.notAfter) : 'no end'
  const current = [
    [
      'collateral',
      verified.collateralIssuedAt === undefined ? 'none for some part' : dayText(verified.collateralIssuedAt),
    ],
    ['verifiable until', until],
  ] as const
  const skipped = verified.checks.filter(({ outcome }) => outcome === 'not-applicable')
  return [
    ...lines,
    '',
    renderPairs(current, style),
    '',
    ...verified.checks.map((check) => checkLine(check, style)),
    ...(skipped.length === 0 ? [] : ['', style.dim(`${skipped.length} of these had nothing to look at: ·`)]),
  ].join('\n')
}

function checkLine({ code, outcome, found }: Check, style: Style): string {
  const mark = outcome === 'passed' ? style.green('✓') : outcome === 'failed' ? style.red('✗') : style.dim('·')
  return `${mark} ${code}: ${printable(found)}`
}

function pairsOf(form: string, claims: Claims, root: string | undefined): (readonly [string, string])[] {
  const { tcb } = claims
  const rated =
    tcb.status === null ? 'not rated here' : `${tcb.status}${tcb.date === null ? '' : `, ${dayText(tcb.date)}`}`
  const levels = Object.entries(tcb.levels).map(([name, level]) => `${name} ${String(level)}`)
  return [
    ['form', form],
    ['TEE', `${claims.tee} as ${claims.role}`],
    ['boundary', claims.boundary ?? 'none'],
    ['chip', claims.platformId ?? 'not named'],
    ...(claims.provider === null ? [] : [['provider', claims.provider] as const]),
    ['root', root ?? 'an issuer’s token'],
    ['firmware', [rated, ...tcb.advisories].join(', ')],
    ...levels.map((text) => ['', text] as const),
    ['debug', claims.debug ? 'ON: the host can read its memory' : 'off'],
    ['host data', claims.hostData ?? 'none'],
    ['report data', claims.reportData ?? 'none'],
  ].map(([name, value]) => [name!, printable(value!)] as const)
}

function dayText(seconds: number): string {
  return new Date(seconds * 1000).toISOString().slice(0, 16).replace('T', ' ')
}
