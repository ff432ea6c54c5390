import type { Manifest } from '@cella/documents'
import { explainPolicy, flagsOf } from '@cella/policy'
import { printable } from './terminal/text.ts'
import { formatBytes, formatCount, formatTime } from './terminal/units.ts'
import { audienceText, rulesText, treatmentText } from './words.ts'

/** What a manifest says, a fact a line, so that two revisions can be compared. The policy engine must have been started. */
export function manifestLines(manifest: Manifest, nameOf: (id: string) => string): string[] {
  const { catalogue, table, program } = manifest
  return [
    `title: ${printable(manifest.title)}`,
    `shown to: ${printable(audienceText(catalogue, nameOf))}`,
    ...(catalogue?.description ? [`description: ${printable(catalogue.description)}`] : []),
    ...(catalogue?.tags ?? []).map((tag) => `tag: ${tag}`),
    `content: ${manifest.sealed.rootDigest}, ${formatBytes(manifest.sealed.size)} sealed`,
    ...(table === null ? [] : [`rows: ${table.rows}`]),
    ...(table?.columns ?? []).map(
      ({ name, type, class: kind, treatment }) =>
        `column ${printable(name)}: ${type}, ${kind}, ${treatmentText(treatment)}`,
    ),
    ...(program === null ? [] : [`code: ${program.digest}, source ${program.source}`]),
    ...(program?.outputs ?? []).map(({ name, declared }) => `writes ${name}: ${declared?.format ?? 'undeclared'}`),
    ...explainPolicy(manifest.policy).map((line) => `policy: ${printable(line)}`),
    // Of one that was written by hand, words tell too little.
    ...(flagsOf(manifest.policy) === undefined ? manifest.policy.split('\n') : []).map(
      (line) => `policy text: ${printable(line)}`,
    ),
    ...(manifest.guests === undefined
      ? [`outputs: ${rulesText(manifest.outputRules)}`]
      : [`guests: ${manifest.guests}`]),
    `approval: ${manifest.approval === 'each-contract' ? 'each contract needs one' : 'the policy suffices'}`,
    ...manifest.purposes.map((purpose) => `purpose: ${printable(purpose)}`),
    `runs: ${manifest.runs === null ? 'no limit' : formatCount(manifest.runs, 'run')}`,
    `from ${formatTime(manifest.notBefore)}`,
    `until ${formatTime(manifest.notAfter)}`,
  ]
}

/** What is new in `after` and what is gone from `before`. */
export function changedLines(
  before: readonly string[],
  after: readonly string[],
): { added: readonly string[]; removed: readonly string[] } {
  return {
    added: after.filter((line) => !before.includes(line)),
    removed: before.filter((line) => !after.includes(line)),
  }
}
