import type { Digest } from '@cella/bytes'
import type { Contract, SignedDocument } from '@cella/documents'
import { type OutputRules, renameColumns, TableError } from '@cella/table'
import { type DocumentSet, organisationId } from './document-set.ts'
import { ReleaseError } from './error.ts'
import { type Reason, reason, type WhoCanChange } from './reasons.ts'

/** An asset of a contract: a data input or a program. */
export interface ContractAsset {
  readonly manifest: Digest
  readonly use: 'input' | 'program'
}

/** Each asset once, programs after the inputs they read, in the contract's order. */
export function assetsOf(contract: Contract): ContractAsset[] {
  const assets = new Map<Digest, ContractAsset>()
  for (const step of contract.steps) {
    for (const { manifest } of step.inputs) assets.set(manifest, { manifest, use: 'input' })
    assets.set(step.program, { manifest: step.program, use: 'program' })
  }
  return [...assets.values()]
}

/**
 * What is wrong with a contract before any owner is asked: the same at create, approve, queue and vault. Every output
 * needs a receiver with a role and a key, and every asset a policy and rules that fit the output's declaration.
 */
export function contractProblems(contract: Contract, documents: DocumentSet): Reason[] {
  const problems: Reason[] = []
  const problem = (code: string, clause: string, expected: string, got: string, whoCanChange: WhoCanChange) =>
    problems.push(reason(code, clause, { expected, got, whoCanChange }))

  if (contract.steps.length !== 1) {
    problem('ERR_CONTRACT_STEPS', 'contract.steps', 'one step', `${contract.steps.length}`, 'author')
  }
  if (new Set(contract.vaults).size !== contract.vaults.length) {
    problem('ERR_CONTRACT_VAULTS', 'contract.vaults', 'each vault once', contract.vaults.join(', '), 'author')
  }
  if (contract.notBefore > contract.notAfter) {
    problem('ERR_CONTRACT_WINDOW', 'contract.notAfter', 'not before notBefore', `${contract.notAfter}`, 'author')
  }
  for (const step of contract.steps) {
    const names = step.inputs.map(({ name }) => name)
    if (new Set(names).size !== names.length) {
      problem('ERR_CONTRACT_NAMES', `${step.id}.inputs`, 'each name once', names.join(', '), 'author')
    }
    problems.push(...assetProblems(step.program, 'program', documents))
    for (const input of step.inputs) {
      problems.push(...assetProblems(input.manifest, 'data', documents), ...columnProblems(input, documents))
    }
  }
  const outputNames = contract.outputs.map(({ name }) => name)
  if (new Set(outputNames).size !== outputNames.length) {
    problem('ERR_CONTRACT_NAMES', 'contract.outputs', 'each name once', outputNames.join(', '), 'author')
  }
  for (const output of contract.outputs) {
    const step = contract.steps.find(({ id }) => id === output.step)
    const program = step && documents.find('cella/manifest', step.program)?.payload.program
    if (!program?.outputs.some(({ name }) => name === output.name)) {
      const declared = program?.outputs.map(({ name }) => name).join(', ') ?? 'none'
      problem(
        'ERR_CONTRACT_OUTPUT',
        `outputs.${output.name}`,
        `an output of the program: ${declared}`,
        output.name,
        'author',
      )
    }
    problems.push(...ruleProblems(contract, output, documents))
    for (const receiver of output.receivers)
      problems.push(...receiverProblems(receiver, `outputs.${output.name}`, documents))
  }
  for (const receiver of contract.diagnostics) problems.push(...receiverProblems(receiver, 'diagnostics', documents))
  return problems
}

function assetProblems(digest: Digest, kind: 'data' | 'program', documents: DocumentSet): Reason[] {
  const manifest = standing(() => documents.require('cella/manifest', digest), `asset ${digest}`, 'publisher')
  if (!('payload' in manifest)) return [manifest]
  const { payload } = manifest
  if (payload.kind !== kind || (kind === 'program') !== (payload.program !== null)) {
    return [
      reason('ERR_CONTRACT_ASSET_KIND', `asset ${payload.series}`, {
        expected: kind,
        got: payload.kind,
        whoCanChange: 'author',
      }),
    ]
  }
  return []
}

/** Names under which the program reads columns: each has to be of one that its owner's treatments leave. */
function columnProblems(
  { name, manifest, columns }: Contract['steps'][number]['inputs'][number],
  documents: DocumentSet,
): Reason[] {
  const asset = documents.find('cella/manifest', manifest)?.payload
  if (columns === undefined || asset === undefined) return []
  const left = (asset.table?.columns ?? []).filter(({ treatment }) => treatment.kind !== 'drop')
  try {
    renameColumns(left, columns)
    return []
  } catch (error) {
    if (!(error instanceof TableError)) throw error
    const expected = `names for columns that ${asset.series} has and does not drop`
    return [
      reason('ERR_CONTRACT_COLUMNS', `inputs.${name}.columns`, {
        expected,
        got: error.message,
        whoCanChange: 'author',
      }),
    ]
  }
}

/** Rules that hold for an output: those of every asset that flows into it, and the contract's own. */
export function rulesFor(contract: Contract, outputName: string, documents: DocumentSet): OutputRules[] {
  const output = contract.outputs.find(({ name }) => name === outputName)
  const step = contract.steps.find(({ id }) => id === output?.step)
  if (output === undefined || step === undefined) {
    throw new RangeError(`the contract has no output ${outputName}`)
  }
  const owners = step.inputs.flatMap(({ manifest }) => {
    const document = documents.find('cella/manifest', manifest)
    return document === undefined ? [] : [document.payload.outputRules]
  })
  return [output.rules, ...owners]
}

function ruleProblems(contract: Contract, output: Contract['outputs'][number], documents: DocumentSet): Reason[] {
  return rulesFor(contract, output.name, documents).flatMap((rules) => {
    const clause = `outputs.${output.name}.rules`
    if (rules.format !== output.declared.format) {
      return [
        reason('ERR_OUTPUT_FORMAT', clause, {
          expected: rules.format,
          got: output.declared.format,
          whoCanChange: 'author',
        }),
      ]
    }
    const counted = output.declared.format === 'table' && output.declared.columns.some(({ role }) => role === 'count')
    if (rules.format === 'table' && rules.minimumGroupSize !== undefined && !counted) {
      return [
        reason('ERR_OUTPUT_NO_COUNT', clause, {
          expected: `a count column: groups are at least ${rules.minimumGroupSize}`,
          got: 'none is declared',
          whoCanChange: 'author',
        }),
      ]
    }
    return []
  })
}

function receiverProblems(
  receiver: Contract['outputs'][number]['receivers'][number],
  clause: string,
  documents: DocumentSet,
): Reason[] {
  const membership = standing(
    () => documents.require('cella/membership', receiver.membership),
    `${clause}.receivers`,
    'receiver',
  )
  if (!('payload' in membership)) return [membership]
  const { payload } = membership
  if (payload.organisation !== receiver.organisation || !payload.roles.includes(receiver.role)) {
    return [
      reason('ERR_CONTRACT_RECEIVER', `${clause}.receivers`, {
        expected: `a member of ${receiver.organisation} with role ${receiver.role}`,
        got: `a member of ${payload.organisation} with ${payload.roles.join(', ')}`,
        whoCanChange: 'author',
      }),
    ]
  }
  return []
}

/** The document that `read` finds in force, or the reason why there is none. */
export function standing<Found>(read: () => Found, clause: string, whoCanChange: WhoCanChange): Found | Reason {
  try {
    return read()
  } catch (error) {
    if (!(error instanceof ReleaseError)) throw error
    return reason(error.code, clause, { expected: 'a document in force', got: error.message, whoCanChange })
  }
}

/** The name an organisation gives itself, for people; its id where it is unknown. */
export function organisationName(documents: DocumentSet, id: Digest): string {
  const known = documents.all('cella/organisation').filter((document) => organisationId(document) === id)
  const newest: SignedDocument<'cella/organisation'> | undefined = known.sort(
    (a, b) => b.payload.revision - a.payload.revision,
  )[0]
  return newest?.payload.name ?? id
}
