import type { Digest } from '@cella/bytes'
import type { Contract, Manifest, SignedDocument } from '@cella/documents'
import { explainPolicy } from '@cella/policy'
import { approvedContracts, gatherForContract, nameOf, type Session, startPolicyEngine } from '@cella/sdk'
import { changedLines } from '../manifest-lines.ts'
import type { Style } from '../terminal/style.ts'
import { printable } from '../terminal/text.ts'
import { formatTime } from '../terminal/units.ts'
import { rulesText, treatmentText } from '../words.ts'

/** What an approver should see of a contract: their own assets in it, and what changed since they approved one like it. */
export interface Review {
  readonly lines: readonly string[]
  /** The newest contract of this author and name that one’s organisation approved before. */
  readonly before: Digest | null
  readonly added: readonly string[]
  readonly removed: readonly string[]
}

export async function reviewContract(session: Session, contract: SignedDocument<'cella/contract'>): Promise<Review> {
  const lines = await describe(session, contract)
  const earlier = await approvedBefore(session, contract)
  if (earlier === undefined) return { lines, before: null, added: [], removed: [] }
  const then = await describe(session, earlier)
  return {
    lines,
    before: earlier.digest,
    ...changedLines(then, lines),
  }
}

export function reviewText({ lines, before, added, removed }: Review, style: Style): string[] {
  const changes =
    before === null
      ? ['your organisation approved no earlier contract of this name and author']
      : added.length + removed.length === 0
        ? [`the same as ${before}, which your organisation approved`]
        : [
            `changed since ${before}, which your organisation approved:`,
            ...removed.map((line) => style.red(`  - ${line}`)),
            ...added.map((line) => style.green(`  + ${line}`)),
          ]
  return ['', ...lines, '', ...changes, '']
}

/** What the contract does and what of one’s own it would read, a fact a line, so that lines can be compared. */
async function describe(session: Session, { digest, payload }: SignedDocument<'cella/contract'>): Promise<string[]> {
  await startPolicyEngine()
  const own = await session.organisation()
  const { documents } = await gatherForContract(session, digest)
  const name = async (organisation: Digest): Promise<string> =>
    printable(await nameOf(session, documents, organisation))
  const lines: string[] = []
  for (const step of payload.steps) {
    const program = documents.find('cella/manifest', step.program)?.payload
    if (program?.program) {
      const { source, digest: code } = program.program
      const sealed =
        source === 'open' ? 'its source is open' : 'its source is sealed: nobody but its author has read it'
      lines.push(`program ${printable(program.title)} of ${await name(program.organisation)}, code ${code}: ${sealed}`)
    }
    if (step.arguments.length > 0) lines.push(`arguments: ${step.arguments.map(printable).join(' ')}`)
    for (const input of step.inputs) {
      const asset = documents.find('cella/manifest', input.manifest)?.payload
      if (asset === undefined) continue
      if (asset.organisation === own) lines.push(...ownAssetLines(asset))
      else lines.push(`reads ${printable(asset.title)} of ${await name(asset.organisation)}`)
      for (const [alias, column] of Object.entries(input.columns ?? {})) {
        lines.push(
          `${printable(asset.title)}, column ${printable(column)}: the program reads it as ${printable(alias)}`,
        )
      }
    }
  }
  for (const output of payload.outputs) {
    for (const { organisation, role } of output.receivers) {
      lines.push(`output ${output.name} goes to ${await name(organisation)} (${role}): ${rulesText(output.rules)}`)
    }
  }
  for (const { organisation, role } of payload.diagnostics) {
    lines.push(`what the program says and measures goes to ${await name(organisation)} (${role})`)
  }
  return [...lines, ...limitLines(payload)]
}

function ownAssetLines(asset: Manifest): string[] {
  const title = printable(asset.title)
  const columns = (asset.table?.columns ?? []).map(
    ({ name, class: kind, treatment }) => `${title}, column ${printable(name)} (${kind}): ${treatmentText(treatment)}`,
  )
  return [
    `reads your ${title}: ${rulesText(asset.outputRules)}`,
    ...columns,
    ...(asset.table === null ? [`${title} has no columns: the program reads all of it`] : []),
    ...explainPolicy(asset.policy).map((line) => `${title}, your policy: ${printable(line)}`),
  ]
}

function limitLines(contract: Contract): string[] {
  return [
    `purpose: ${printable(contract.purpose)} (its author’s word)`,
    `at most ${contract.runs} ${contract.runs === 1 ? 'run' : 'runs'}`,
    `until ${formatTime(contract.notAfter)}`,
    `isolation ${contract.isolation}, ${contract.simulated ? 'a SIMULATED TEE will do' : 'a real TEE only'}`,
  ]
}

async function approvedBefore(
  session: Session,
  { digest, payload }: SignedDocument<'cella/contract'>,
): Promise<SignedDocument<'cella/contract'> | undefined> {
  const found = await approvedContracts(session)
  return found.findLast(
    (earlier) =>
      earlier.digest !== digest &&
      earlier.payload.name === payload.name &&
      earlier.payload.organisation === payload.organisation,
  )
}
