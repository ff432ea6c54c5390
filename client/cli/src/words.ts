import type { Catalogue, Manifest } from '@cella/documents'
import type { Verdict } from '@cella/receipt'
import type { Treatment } from '@cella/table'
import { outcomeTitles, verdictParts } from '@cella/verify'
import type { Style } from './terminal/style.ts'
import { printable, wrap } from './terminal/text.ts'
import { formatCount } from './terminal/units.ts'

/** Whom an asset is shown to, in a few words. */
export function audienceText(catalogue: Catalogue | undefined, nameOf: (id: string) => string): string {
  const audience = catalogue?.audience ?? 'everyone'
  return typeof audience === 'string' ? audience : audience.map((id) => nameOf(id)).join(', ')
}

/** A treatment in a few words. */
export function treatmentText(treatment: Treatment): string {
  switch (treatment.kind) {
    case 'mask':
      return `mask, keep ${treatment.keepFirst ?? 0} + ${treatment.keepLast ?? 0}`
    case 'round':
      return `round to ${treatment.to}`
    case 'bucket':
      return 'edges' in treatment
        ? `bucket at ${treatment.edges.join(', ')}`
        : `bucket to ${[...new Set([...Object.values(treatment.map), treatment.default])].join(', ')}`
    default:
      return treatment.kind
  }
}

/** Output rules in a sentence. */
export function rulesText(rules: Manifest['outputRules']): string {
  if (rules.format === 'file') return `a file of at most ${formatCount(rules.bytesMax, 'byte')}`
  const group =
    rules.minimumGroupSize === undefined
      ? 'without a minimum group size'
      : `groups of at least ${rules.minimumGroupSize}, smaller ones ${rules.suppress === 'row' ? 'left out' : 'emptied'}`
  return `a table of at most ${formatCount(rules.rowsMax, 'row')} and ${formatCount(rules.bytesMax, 'byte')}, ${group}`
}

/** A verdict: what is proved, what is not, or what is wrong or missing. */
export function verdictText(verdict: Verdict, { style, width }: { style: Style; width: number }): string {
  const paints = { proved: style.green, disproved: style.red, 'cannot-tell': style.yellow }
  const marks = { statements: style.green, notProved: style.yellow, wrong: style.red, missing: style.yellow }
  const { outcome } = verdict
  return [
    paints[outcome](style.bold(outcomeTitles[outcome].toUpperCase())),
    ...verdictParts(verdict).flatMap(({ name, title, mark, statements }) => [
      '',
      style.bold(title),
      ...statements.map(({ text }) => wrap(`  ${marks[name](mark)} ${printable(text)}`, { width, indent: '    ' })),
    ]),
  ].join('\n')
}

/**
 * Lines that name organisations and programs by the start of their digests, with your own names for those you know. The
 * digest stays beside the name: the name is for reading, the digest decides.
 */
export function withNames(lines: readonly string[], names: ReadonlyMap<string, string>): string[] {
  return lines.map((line) =>
    line.replaceAll(/\b([0-9a-f]{8,63})…/g, (whole, start: string) => {
      const known = [...names].filter(([digest]) => digest.startsWith(start))
      return known.length === 1 ? `${known[0]![1]} (${whole})` : whole
    }),
  )
}
