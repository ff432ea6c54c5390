import { stat } from 'node:fs/promises'
import { parseDigest } from '@cella/bytes'
import { fetchFor, judgedLogSigners, ManagerClient, SdkError } from '@cella/sdk'
import type { Command } from 'commander'
import { type Cli, does, leaf } from '../command.ts'
import type { Context } from '../context.ts'
import { CliError } from '../error.ts'
import {
  type Finding,
  metricsFindings,
  readinessFindings,
  refusedWorkers,
  serverFolderFindings,
} from '../manager-findings.ts'
import { dataFolder, dataOption, runningServer } from '../supervisor.ts'
import { askTee } from '../tee-tool.ts'
import { printable } from '../terminal/text.ts'
import { formatCount } from '../terminal/units.ts'

/** `cella doctor` */
export function addDoctorCommand(program: Command, cli: Cli): void {
  const command = dataOption(
    leaf(program, 'doctor', {
      summary: 'look for what could be wrong here, and say what to do about it',
      examples: ['cella doctor', 'cella doctor --json'],
    }),
  )
  does<{ data?: string }>(command, cli, async (context, _, flags) => {
    const findings = [
      checkNode(),
      await checkHome(context),
      await checkKeystore(context),
      ...(await checkManager(context, await dataFolder(context, flags.data))),
      ...(await checkVaults(await dataFolder(context, flags.data))),
    ]
    const tee = await lookForTees()
    const bad = findings.filter(({ ok }) => !ok)
    return {
      data: { ok: bad.length === 0, findings, tee: tee.report },
      text: [
        ...findings.map(({ check, ok, found, fix }) => {
          const mark = ok ? context.style.green('✓') : context.style.red('✗')
          return `${mark} ${check}: ${printable(found)}${ok || fix === undefined ? '' : `\n    ${fix}`}`
        }),
        ...tee.lines.map((line) => printable(line)),
      ].join('\n'),
      exitCode: bad.length === 0 ? 0 : 1,
    }
  })
}

interface ProbeReport {
  readonly chosen: string | null
  readonly drivers: readonly {
    readonly name: string
    readonly title: string
    readonly outcome: string
    readonly why: string | null
    readonly attempts: readonly { readonly what: string; readonly found: string }[]
  }[]
}

/** What TEEs were looked for here, and why each is not used. To have none is no fault: most machines are none. */
async function lookForTees(): Promise<{ report: unknown; lines: readonly string[] }> {
  let report: ProbeReport
  try {
    report = (await askTee(['probe'])) as ProbeReport
  } catch (error) {
    if (!(error instanceof CliError)) throw error
    return { report: null, lines: [`· TEE: not looked for: ${error.message}`] }
  }
  return {
    report,
    lines: [
      `· TEE: ${report.chosen ?? 'none: this machine can only simulate one'}`,
      ...report.drivers.flatMap(({ name, title, outcome, why, attempts }) => [
        `    ${name} (${title}): ${outcome}${why === null ? '' : `, ${why}`}`,
        ...attempts.map(({ what, found }) => `        ${what}: ${found}`),
      ]),
    ],
  }
}

function checkNode(): Finding {
  const major = Number(process.versions.node.split('.')[0])
  return {
    check: 'Node',
    ok: major >= 26,
    found: process.versions.node,
    fix: 'npm install brings Node 26 along; run cella through its launcher',
  }
}

async function checkHome(context: Context): Promise<Finding> {
  const { folder } = await context.home()
  try {
    const { mode } = await stat(folder)
    const open = process.platform !== 'win32' && (mode & 0o077) !== 0
    return {
      check: 'home',
      ok: !open,
      found: `${folder}${open ? ' can be read by others' : ''}`,
      fix: `chmod 700 ${folder}`,
    }
  } catch {
    return { check: 'home', ok: true, found: `${folder} is not there yet` }
  }
}

async function checkKeystore(context: Context): Promise<Finding> {
  const home = await context.home()
  try {
    const { mode } = await stat(home.keystorePath)
    const open = process.platform !== 'win32' && (mode & 0o077) !== 0
    return { check: 'keystore', ok: !open, found: home.keystorePath, fix: `chmod 600 ${home.keystorePath}` }
  } catch {
    return {
      check: 'keystore',
      ok: false,
      found: `profile ${home.profileName} has none`,
      fix: 'cella org create NAME, or cella keys list --create',
    }
  }
}

/** The vaults of this machine: whether each is up, and whether those that stand in for others may. */
async function checkVaults(folder: string): Promise<Finding[]> {
  const status = await runningServer(folder)
  const vaults = (status?.processes ?? []).filter(({ name }) => /^(?:vault|replica)(?:-|$)/.test(name))
  return vaults.map(({ name, ready, vault }) => {
    const refused = vault?.refused ?? 0
    return {
      check: name,
      ok: ready && refused === 0,
      found: !ready
        ? 'not ready'
        : refused > 0
          ? `${formatCount(refused, 'organisation')} accept it not: their terms`
          : vault === undefined
            ? 'ready'
            : `ready; keys of ${vault.organisations}, stands in for ${vault.standsInFor}`,
      fix: ready
        ? 'tell them: cella org terms --installation FILE accepts it; until then the vault before serves them'
        : `see the log of ${name}: cella status`,
    }
  })
}

async function checkManager(context: Context, folder: string): Promise<Finding[]> {
  const status = await runningServer(folder)
  const url = context.options.manager ?? (await (await context.home()).profile()).manager ?? status?.manager
  if (!url) return [{ check: 'manager', ok: false, found: 'none known', fix: 'cella up, or --manager URL' }]
  try {
    const request = await fetchFor(await context.home(), url)
    const response = await request(`${url}/readyz`, { signal: AbortSignal.timeout(5000) })
    const date = Date.parse(response.headers.get('date') ?? '')
    const skew = Number.isNaN(date) ? 0 : Math.round((Date.now() - date) / 1000)
    const findings: Finding[] = [
      {
        check: 'manager',
        ok: response.ok,
        found: `${url} ${response.ok ? 'is ready' : `answers ${response.status}`}`,
        fix: 'cella status',
      },
      {
        check: 'clock',
        ok: Math.abs(skew) <= 30,
        found: `${skew} s from the manager’s`,
        fix: 'set this machine’s clock: requests are accepted for 60 s',
      },
    ]
    const readiness: unknown = await response.json().catch(() => undefined)
    const metrics = await request(`${url}/metrics`, { signal: AbortSignal.timeout(5000) })
    const workers = await request(`${url}/v1/workers`, { signal: AbortSignal.timeout(5000) })
    return [
      ...findings,
      ...(status === undefined ? [] : serverFolderFindings(folder)),
      ...readinessFindings(readiness),
      ...(metrics.ok ? metricsFindings(await metrics.text(), Date.now() / 1000) : []),
      ...(workers.ok ? refusedWorkers(await workers.json().catch(() => undefined)) : []),
      await checkLog(context, url),
      ...(await checkSigner(context)),
    ]
  } catch {
    return [{ check: 'manager', ok: false, found: `${url} does not answer`, fix: 'cella up, or --manager URL' }]
  }
}

/** Whether the code that holds the log's key is what one's own terms accept; said of who is in an organisation. */
async function checkSigner(context: Context): Promise<Finding[]> {
  const { organisation } = await (await context.home()).profile()
  if (organisation === null) return []
  try {
    const { signers, asked, reasons } = await judgedLogSigners(
      await context.session(),
      parseDigest(organisation, 'organisation'),
    )
    const held =
      signers.count === 0
        ? 'its key is in a file of the operator'
        : `its key is held by code that ${formatCount(signers.count, 'entry', 'entries')} of it ${signers.count === 1 ? 'names' : 'name'}`
    const found =
      reasons.length > 0
        ? reasons.map(({ code, got }) => `${code}: ${got}`).join('; ')
        : `${held}${asked ? ', as your terms demand' : '; your terms demand nothing of it'}`
    return [
      {
        check: 'log signer',
        ok: reasons.length === 0,
        found,
        fix: 'cella log show; new terms accept a new build: cella org terms',
      },
    ]
  } catch (error) {
    const hint = error instanceof SdkError ? error.hint : undefined
    return [
      { check: 'log signer', ok: false, found: (error as Error).message, ...(hint !== undefined && { fix: hint }) },
    ]
  }
}

async function checkLog(context: Context, url: string): Promise<Finding> {
  try {
    const { origin } = (await new ManagerClient({ url, fetch: await fetchFor(await context.home(), url) }).info()).log
    const { logs } = await (await context.home()).anchors()
    if (logs.length === 0)
      return {
        check: 'log',
        ok: false,
        found: `${origin} is not trusted yet`,
        fix: 'cella org trust --log FILE or --installation FILE',
      }
    const { checkpoint } = await (await context.session()).log()
    return {
      check: 'log',
      ok: true,
      found: `${formatCount(checkpoint.size, 'entry', 'entries')}, consistent with what was seen before`,
    }
  } catch (error) {
    const hint = error instanceof SdkError ? error.hint : undefined
    return { check: 'log', ok: false, found: (error as Error).message, ...(hint !== undefined && { fix: hint }) }
  }
}
