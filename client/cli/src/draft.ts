import { boundaryField, budgetsSchema } from '@cella/documents'
import { type ContractDraft, defaultBudgets, resolveOrganisation, type Session } from '@cella/sdk'
import { columnNamesSchema, declaredOutputSchema, outputRulesSchema } from '@cella/table'
import { parse as parseYaml } from 'yaml'
import { z } from 'zod'
import { CliError, UsageError } from './error.ts'
import { readJsonFile, readTextFile } from './files.ts'
import { assetName, pair, receiverName, windowOf } from './options.ts'

const draftSchema = z.strictObject({
  name: z.string(),
  purpose: z.string(),
  /** `ORGANISATION/SERIES`. */
  program: z.string(),
  arguments: z.array(z.string()).default([]),
  inputs: z
    .array(z.strictObject({ name: z.string(), asset: z.string(), columns: columnNamesSchema.optional() }))
    .min(1),
  outputs: z
    .array(
      z.strictObject({
        name: z.string(),
        /** `ORGANISATION:ROLE`. */
        receivers: z.array(z.string()),
        rules: outputRulesSchema.optional(),
        declared: declaredOutputSchema.optional(),
      }),
    )
    .min(1),
  diagnostics: z.array(z.string()).default([]),
  boundary: boundaryField.default('vm'),
  attempts: z.int().min(1).max(10).default(3),
  budgets: budgetsSchema.partial().default({}),
  simulated: z.boolean().default(false),
  isolation: z.int().min(1).max(3).default(2),
  runs: z.int().min(1).default(1),
  from: z.string().optional(),
  until: z.string().optional(),
  days: z.int().min(1).optional(),
})
type DraftFile = z.infer<typeof draftSchema>

/** Flags from which a draft is made; `file` brings what the flags leave out. */
export interface DraftFlags {
  readonly file?: string
  readonly name?: string
  readonly purpose?: string
  readonly program?: string
  readonly argument?: string[]
  readonly input?: string[]
  readonly column?: string[]
  readonly output?: string[]
  readonly rules?: string
  readonly diagnostics?: string[]
  readonly boundary?: string
  readonly attempts?: number
  readonly allowSimulated?: boolean
  readonly runs?: number
  readonly from?: string
  readonly until?: string
  readonly days?: number
}

/** A draft of a contract from a YAML or JSON file, from flags, or both. Names of organisations are those you trust. */
export async function readDraft(session: Session, flags: DraftFlags): Promise<ContractDraft> {
  const file = flags.file === undefined ? {} : await readDraftFile(flags.file)
  const parsed = draftSchema.safeParse({ ...file, ...(await fromFlags(flags)) })
  if (!parsed.success) {
    const issues = parsed.error.issues.map(({ path, message }) => `${path.join('.') || 'draft'}: ${message}`)
    throw new UsageError(
      `the workflow is not complete: ${issues.join('; ')}`,
      'give what is missing as a flag or in --file; see --help',
    )
  }
  return resolveDraft(session, parsed.data)
}

async function readDraftFile(path: string): Promise<Record<string, unknown>> {
  const text = await readTextFile(path)
  let value: unknown
  try {
    // Anchors and aliases could make a small file large.
    value = parseYaml(text, { maxAliasCount: 0 })
  } catch (cause) {
    throw new CliError('ERR_FILE', `${path} is neither YAML nor JSON: ${(cause as Error).message}`, undefined, {
      cause,
    })
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new CliError('ERR_FILE', `${path} is no description of a workflow`)
  return value as Record<string, unknown>
}

async function fromFlags(flags: DraftFlags): Promise<Record<string, unknown>> {
  const rules = flags.rules === undefined ? undefined : await readJsonFile(flags.rules)
  const outputs = new Map<string, { name: string; receivers: string[]; rules?: unknown }>()
  for (const text of flags.output ?? []) {
    const at = text.indexOf('=')
    const name = at < 0 ? text : text.slice(0, at)
    const output = outputs.get(name) ?? { name, receivers: [], ...(rules !== undefined && { rules }) }
    if (at >= 0) output.receivers.push(text.slice(at + 1))
    outputs.set(name, output)
  }
  const columns = columnFlags(flags.column ?? [])
  const inputs = (flags.input ?? []).map((text) => {
    const { name, value } = pair(text, '--input')
    const named = columns.get(name)
    columns.delete(name)
    return { name, asset: value, ...(named && { columns: named }) }
  })
  for (const input of columns.keys()) {
    throw new UsageError(`--column ${input}: is no input of --input`, 'in a --file, write columns: beside the asset')
  }
  const values: Record<string, unknown> = {
    name: flags.name,
    purpose: flags.purpose,
    program: flags.program,
    arguments: flags.argument,
    inputs: inputs.length > 0 ? inputs : undefined,
    outputs: outputs.size > 0 ? [...outputs.values()] : undefined,
    diagnostics: flags.diagnostics,
    boundary: flags.boundary,
    attempts: flags.attempts,
    simulated: flags.allowSimulated,
    runs: flags.runs,
    from: flags.from,
    until: flags.until,
    days: flags.days,
  }
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined))
}

/** `INPUT:NAME=COLUMN`, by input. */
function columnFlags(texts: readonly string[]): Map<string, Record<string, string>> {
  const found = new Map<string, Record<string, string>>()
  for (const text of texts) {
    const { name: place, value } = pair(text, '--column')
    const at = place.indexOf(':')
    const [input, name] = [place.slice(0, Math.max(0, at)), place.slice(at + 1)]
    if (input === '' || name === '') throw new UsageError(`--column ${text}`, 'write INPUT:NAME=COLUMN')
    const named = found.get(input) ?? {}
    if (Object.hasOwn(named, name)) throw new UsageError(`--column ${text}: ${name} is named twice`, 'once is enough')
    found.set(input, { ...named, [name]: value })
  }
  return found
}

async function resolveDraft(session: Session, draft: DraftFile): Promise<ContractDraft> {
  const asset = async (text: string, what: string) => {
    const { organisation, series } = assetName(text, what)
    return { organisation: await resolveOrganisation(session, organisation), series }
  }
  const receivers = (texts: readonly string[], what: string) =>
    Promise.all(
      texts.map(async (text) => {
        const { organisation, role } = receiverName(text, what)
        return { organisation: await resolveOrganisation(session, organisation), role }
      }),
    )
  const outputs: ContractDraft['outputs'][number][] = []
  for (const { name, receivers: named, rules, declared } of draft.outputs) {
    // Refused here as everywhere later: an output that nobody may read is a mistake.
    if (named.length === 0) throw new UsageError(`output ${name} has no receiver`, `--output ${name}=ORGANISATION:ROLE`)
    outputs.push({
      name,
      receivers: await receivers(named, `output ${name}`),
      rules,
      declared,
    })
  }
  return {
    name: draft.name,
    purpose: draft.purpose,
    program: await asset(draft.program, 'program'),
    arguments: draft.arguments,
    inputs: await Promise.all(
      draft.inputs.map(async ({ name, asset: text, columns }) => {
        return { name, ...(await asset(text, `input ${name}`)), columns }
      }),
    ),
    outputs,
    diagnostics: await receivers(draft.diagnostics, 'diagnostics'),
    boundary: draft.boundary,
    attempts: draft.attempts,
    budgets: { ...defaultBudgets, ...definedOnly(draft.budgets) },
    simulated: draft.simulated,
    isolation: draft.isolation,
    runs: draft.runs,
    ...windowOf(
      definedOnly({ from: draft.from, until: draft.until, days: draft.days }),
      session.now(),
      session.now() + 30 * 86_400,
    ),
  }
}

function definedOnly<Members extends object>(
  members: Members,
): { [Name in keyof Members]: Exclude<Members[Name], undefined> } {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined)) as never
}
