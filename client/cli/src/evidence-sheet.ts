import type { AppraisalPolicy, Check, Claims, VerifiedEvidence } from '@cella/evidence'
import type { Style } from './terminal/style.ts'
import { renderPairs } from './terminal/table.ts'
import { printable } from './terminal/text.ts'

/** What an accepting policy left open: said, because a preset alone proves nothing about code and freshness. */
export function warnings({ measurements, reportData }: AppraisalPolicy, style: Style): string[] {
  const open = [
    ...(measurements === 'any' ? ['any code: pin it with cella evidence trust'] : []),
    ...(reportData === 'any' ? ['evidence of any moment and for any key: give --report-data or --binding'] : []),
  ]
  return open.map((what) => `${style.yellow('note:')} the policy accepts ${what}`)
}

/** A person-readable sheet of genuine evidence. */
export function sheet(form: string, verified: VerifiedEvidence, style: Style): string {
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

/** What was looked at, met or not; what the policy demands nothing of is counted. */
export function checkLines(checks: readonly Check[], style: Style): string[] {
  const looked = checks.filter(({ outcome }) => outcome !== 'not-applicable')
  const rest = checks.length - looked.length
  return [
    ...looked.map((check) => checkLine(check, style)),
    ...(rest === 0
      ? []
      : [style.dim(`${rest} more had nothing to look at, or nothing is demanded: --json lists them`)]),
  ]
}

function checkLine({ code, outcome, expected, found }: Check, style: Style): string {
  const mark = outcome === 'passed' ? style.green('✓') : outcome === 'failed' ? style.red('✗') : style.dim('·')
  return `${mark} ${code}: ${outcome === 'failed' ? `expected ${printable(expected)}, found ` : ''}${printable(found)}`
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

export function dayText(seconds: number): string {
  return new Date(seconds * 1000).toISOString().slice(0, 16).replace('T', ' ')
}
