import type { PolicyFlags } from './flags.ts'
import type { MachineRequest, PolicyAction, PolicyRequest, SecretRequest } from './requests.ts'

/** Who can do something about a refusal. */
export type WhoCanChange = 'publisher' | 'author' | 'operator' | 'receiver' | 'approver' | 'regulator' | 'nobody'

/** Codes of the clauses that `compilePolicy` writes. */
export type ClauseCode =
  | 'ERR_POLICY_ORGANISATION'
  | 'ERR_POLICY_ACCOUNT'
  | 'ERR_POLICY_ROLE'
  | 'ERR_POLICY_PROGRAM'
  | 'ERR_POLICY_PUBLISHER'
  | 'ERR_POLICY_PURPOSE'
  | 'ERR_POLICY_SOURCE'
  | 'ERR_POLICY_RECEIVER'
  | 'ERR_POLICY_RECEIVER_ROLE'
  | 'ERR_POLICY_RECEIVER_ORGANISATION'
  | 'ERR_POLICY_RECEIVER_ACCOUNT'
  | 'ERR_POLICY_PLACE'
  | 'ERR_POLICY_TEE'
  | 'ERR_POLICY_BOUNDARY'
  | 'ERR_POLICY_CHIP'
  | 'ERR_POLICY_PROVIDER'
  | 'ERR_POLICY_SIMULATED'
  | 'ERR_POLICY_DEBUG'
  | 'ERR_POLICY_NOT_YET'
  | 'ERR_POLICY_EXPIRED'
  | 'ERR_POLICY_USES'
  | 'ERR_POLICY_ISOLATION'
  | 'ERR_POLICY_DERIVE'
  | 'ERR_POLICY_APPROVER'
  | 'ERR_POLICY_REGULATOR'
  | 'ERR_POLICY_MEASUREMENT'
  | 'ERR_POLICY_HOST_DATA'

/** One thing that a compiled policy can demand. */
export interface Clause<Request = PolicyRequest> {
  /** The policy's `@id` in the text. */
  readonly id: string
  readonly code: ClauseCode
  readonly actions: readonly PolicyAction[]
  readonly whoCanChange: WhoCanChange
  /** The Cedar condition without which it forbids; `false` forbids always; undefined: nothing is demanded. */
  readonly condition: (flags: PolicyFlags) => string | undefined
  /** What would have been accepted. */
  readonly expected: (flags: PolicyFlags) => string
  /** What the facts say. */
  readonly got: (request: Request) => string
}

// Whoever starts a contract answers for these; TEE and place matter wherever a key would go.
const runs: readonly PolicyAction[] = ['compute', 'readOutput', 'derive']
const releases: readonly PolicyAction[] = ['compute', 'readOutput', 'derive', 'disclose']

/** What a machine has to be: the worker's where a contract computes, the guest's where a secret is asked for. */
const machineClauses: readonly Clause<MachineRequest>[] = [
  {
    id: 'tee',
    code: 'ERR_POLICY_TEE',
    actions: releases,
    whoCanChange: 'operator',
    condition: ({ tees }) => oneOf(tees, 'context.tee.kind'),
    expected: ({ tees }) => list(tees),
    got: ({ facts }) => facts.tee.kind,
  },
  {
    id: 'boundary',
    code: 'ERR_POLICY_BOUNDARY',
    actions: releases,
    whoCanChange: 'operator',
    condition: ({ boundaries }) => oneOf(boundaries, 'context.tee.boundary'),
    expected: ({ boundaries }) => list(boundaries),
    got: ({ facts }) => facts.tee.boundary,
  },
  {
    id: 'chip',
    code: 'ERR_POLICY_CHIP',
    actions: releases,
    whoCanChange: 'operator',
    condition: ({ chips }) => oneOf(chips, 'context.tee.platformId'),
    expected: ({ chips }) => list(chips),
    got: ({ facts }) => facts.tee.platformId,
  },
  {
    id: 'provider',
    code: 'ERR_POLICY_PROVIDER',
    actions: releases,
    whoCanChange: 'operator',
    condition: ({ providers }) => oneOf(providers, 'context.tee.provider'),
    expected: ({ providers }) => list(providers),
    got: ({ facts }) => facts.tee.provider,
  },
  {
    id: 'simulated',
    code: 'ERR_POLICY_SIMULATED',
    actions: releases,
    whoCanChange: 'operator',
    condition: ({ simulated }) => (simulated ? undefined : 'context.tee.simulated == false'),
    expected: () => 'hardware',
    got: () => 'simulated',
  },
  {
    id: 'debug',
    code: 'ERR_POLICY_DEBUG',
    actions: releases,
    whoCanChange: 'operator',
    condition: () => 'context.tee.debug == false',
    expected: () => 'off',
    got: () => 'on',
  },
]

const limitClauses: readonly Clause<MachineRequest>[] = [
  {
    id: 'not-before',
    code: 'ERR_POLICY_NOT_YET',
    actions: runs,
    whoCanChange: 'nobody',
    // Beginnings are judged by the earliest time it may be, ends by the latest.
    condition: ({ notBefore }) => (notBefore === undefined ? undefined : `context.time.earliest >= ${notBefore}`),
    expected: ({ notBefore }) => timeText(notBefore!),
    got: ({ facts }) => timeText(facts.time.earliest),
  },
  {
    id: 'not-after',
    code: 'ERR_POLICY_EXPIRED',
    actions: runs,
    whoCanChange: 'publisher',
    condition: ({ notAfter }) => (notAfter === undefined ? undefined : `context.time.latest <= ${notAfter}`),
    expected: ({ notAfter }) => timeText(notAfter!),
    got: ({ facts }) => timeText(facts.time.latest),
  },
  {
    id: 'uses',
    code: 'ERR_POLICY_USES',
    actions: runs,
    whoCanChange: 'publisher',
    condition: ({ uses }) => (uses === undefined ? undefined : `context.uses <= ${uses}`),
    expected: ({ uses }) => String(uses),
    got: ({ facts }) => (facts.uses === null ? 'not counted' : String(facts.uses)),
  },
]

/** Every clause, in the order in which they are written and reported. */
export const clauses: readonly Clause[] = [
  {
    id: 'organisation',
    code: 'ERR_POLICY_ORGANISATION',
    actions: runs,
    whoCanChange: 'author',
    condition: ({ organisations }) => oneOf(organisations, 'principal.organisation', 'Organisation'),
    expected: ({ organisations }) => list(organisations),
    got: ({ principal }) => principal.organisation,
  },
  {
    id: 'account',
    code: 'ERR_POLICY_ACCOUNT',
    actions: runs,
    whoCanChange: 'author',
    condition: ({ accounts }) => oneOf(accounts, 'principal.account'),
    expected: ({ accounts }) => list(accounts),
    got: ({ principal }) => principal.account,
  },
  {
    id: 'role',
    code: 'ERR_POLICY_ROLE',
    actions: runs,
    whoCanChange: 'author',
    condition: ({ roles }) => roles && `principal.roles.containsAny([${literals(roles)}])`,
    expected: ({ roles }) => list(roles),
    got: ({ principal }) => list(principal.roles),
  },
  {
    id: 'program',
    code: 'ERR_POLICY_PROGRAM',
    actions: ['compute'],
    whoCanChange: 'author',
    condition: ({ programs }) => (programs === 'any' ? undefined : oneOf(programs, 'context.program', 'Program')),
    expected: ({ programs }) => list(programs),
    got: ({ program }) => program!.digest,
  },
  {
    id: 'publisher',
    code: 'ERR_POLICY_PUBLISHER',
    actions: ['compute'],
    whoCanChange: 'author',
    condition: ({ publishers }) => oneOf(publishers, 'context.program.publisher', 'Organisation'),
    expected: ({ publishers }) => list(publishers),
    got: ({ program }) => program!.publisher,
  },
  {
    id: 'purpose',
    code: 'ERR_POLICY_PURPOSE',
    actions: runs,
    whoCanChange: 'author',
    condition: ({ purposes }) => oneOf(purposes, 'context.purpose'),
    expected: ({ purposes }) => list(purposes),
    got: ({ facts }) => facts.contract.purpose,
  },
  {
    id: 'source',
    code: 'ERR_POLICY_SOURCE',
    actions: runs,
    whoCanChange: 'publisher',
    condition: ({ sources }) => sources && `resource.sources.containsAny([${literals(sources)}])`,
    expected: ({ sources }) => list(sources),
    got: ({ facts }) => list(facts.asset.sources),
  },
  {
    id: 'receiver',
    code: 'ERR_POLICY_RECEIVER',
    actions: ['readOutput'],
    whoCanChange: 'publisher',
    condition: (flags) => (namesReceivers(flags) ? undefined : 'false'),
    expected: () => '',
    got: ({ receiver }) => receiver!.account,
  },
  {
    id: 'receiver-role',
    code: 'ERR_POLICY_RECEIVER_ROLE',
    actions: ['readOutput'],
    whoCanChange: 'receiver',
    condition: ({ receiverRoles }) =>
      receiverRoles === 'any' || receiverRoles === undefined ? undefined : oneOf(receiverRoles, 'context.receiverRole'),
    expected: ({ receiverRoles }) => list(receiverRoles),
    got: ({ receiver }) => receiver!.role,
  },
  {
    id: 'receiver-organisation',
    code: 'ERR_POLICY_RECEIVER_ORGANISATION',
    actions: ['readOutput'],
    whoCanChange: 'author',
    condition: (flags) => oneOf(flags.receiverOrganisations, 'context.receiver.organisation', 'Organisation'),
    expected: ({ receiverOrganisations }) => list(receiverOrganisations),
    got: ({ receiver }) => receiver!.organisation,
  },
  {
    id: 'receiver-account',
    code: 'ERR_POLICY_RECEIVER_ACCOUNT',
    actions: ['readOutput'],
    whoCanChange: 'author',
    condition: ({ receiverAccounts }) => oneOf(receiverAccounts, 'context.receiver.account'),
    expected: ({ receiverAccounts }) => list(receiverAccounts),
    got: ({ receiver }) => receiver!.account,
  },
  {
    id: 'place',
    code: 'ERR_POLICY_PLACE',
    actions: releases,
    whoCanChange: 'operator',
    // A region that only the operator states is no region: it may lie.
    condition: ({ places }) =>
      places && `["evidence", "terms"].contains(context.place.source) && ${oneOf(places, 'context.place.region')}`,
    expected: ({ places }) => list(places),
    got: ({ facts }) => (facts.place.region === '' ? '' : `${facts.place.region} (${facts.place.source})`),
  },
  ...machineClauses,
  ...limitClauses,
  {
    id: 'isolation',
    code: 'ERR_POLICY_ISOLATION',
    actions: releases,
    whoCanChange: 'operator',
    condition: ({ isolation }) => (isolation === undefined ? undefined : `context.isolation >= ${isolation}`),
    expected: ({ isolation }) => String(isolation),
    got: ({ facts }) => String(facts.isolation),
  },
  {
    id: 'derive',
    code: 'ERR_POLICY_DERIVE',
    actions: ['derive'],
    whoCanChange: 'author',
    condition: ({ derive }) => (derive ? undefined : 'false'),
    expected: () => 'no',
    got: () => 'yes',
  },
  {
    id: 'approver',
    code: 'ERR_POLICY_APPROVER',
    actions: ['approve'],
    whoCanChange: 'approver',
    condition: () => 'principal.organisation == resource.owner && principal.roles.contains("approver")',
    expected: () => 'approver',
    got: ({ principal }) => `${list(principal.roles)} of ${principal.organisation}`,
  },
  {
    id: 'regulator',
    code: 'ERR_POLICY_REGULATOR',
    actions: ['disclose'],
    whoCanChange: 'publisher',
    condition: ({ regulators }) => oneOf(regulators, 'principal.organisation', 'Organisation') ?? 'false',
    expected: ({ regulators }) => list(regulators),
    got: ({ principal }) => principal.organisation,
  },
]

/** Every clause of a secret's policy, in the order in which they are written and reported. */
export const secretClauses: readonly Clause<SecretRequest>[] = [
  {
    id: 'measurement',
    code: 'ERR_POLICY_MEASUREMENT',
    actions: ['readSecret'],
    whoCanChange: 'operator',
    condition: ({ measurements }) => oneOf(measurements, 'context.measurement'),
    expected: ({ measurements }) => list(measurements),
    got: ({ facts }) => facts.guest.measurement,
  },
  {
    id: 'host-data',
    code: 'ERR_POLICY_HOST_DATA',
    actions: ['readSecret'],
    whoCanChange: 'operator',
    condition: ({ hostData }) => oneOf(hostData, 'context.hostData'),
    expected: ({ hostData }) => list(hostData),
    got: ({ facts }) => facts.guest.hostData,
  },
  ...[...machineClauses, ...limitClauses].map((clause) => ({ ...clause, actions: ['readSecret'] as const })),
]

/** Unix seconds as `2026-12-21T00:00:00Z`. */
export function timeText(unixSeconds: number): string {
  // Facts may carry any count of seconds; Date ends at 8.64e12.
  if (unixSeconds > 8_640_000_000_000) return String(unixSeconds)
  return new Date(unixSeconds * 1000).toISOString().replace('.000Z', 'Z')
}

/** `text` as a Cedar string literal; everything but plain ASCII letters, digits and punctuation as `\u{…}`. */
export function cedarString(text: string): string {
  const escaped = Array.from(text, (character) =>
    /^[ !#-[\]-~]$/.test(character) ? character : `\\u{${character.codePointAt(0)!.toString(16)}}`,
  )
  return `"${escaped.join('')}"`
}

function namesReceivers(flags: PolicyFlags): boolean {
  return [flags.receiverRoles, flags.receiverOrganisations, flags.receiverAccounts].some((flag) => flag !== undefined)
}

function literals(values: readonly string[], entityType?: string): string {
  return values.map((value) => (entityType ? `Cella::${entityType}::` : '') + cedarString(value)).join(', ')
}

function oneOf(
  values: 'any' | readonly string[] | undefined,
  attribute: string,
  entityType?: string,
): string | undefined {
  if (values === undefined || values === 'any') return undefined
  return `[${literals(values, entityType)}].contains(${attribute})`
}

function list(values: 'any' | readonly string[] | undefined): string {
  return typeof values === 'string' ? values : (values ?? []).join(', ')
}
