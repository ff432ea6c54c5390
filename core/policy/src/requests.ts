import type { Context, EntityJson, EntityUid, TypeAndId } from '@cedar-policy/cedar-wasm/web'
import type { MemberFacts, PolicyFacts, ReceiverFacts, SecretFacts } from './facts.ts'

/** What somebody wants to do with an asset. */
export type PolicyAction = 'compute' | 'readOutput' | 'derive' | 'approve' | 'disclose' | 'readSecret'

/** One question to a policy. All questions of a decision share its facts. */
export interface PolicyRequest {
  readonly action: PolicyAction
  /** Who asks: the contract's author; for `approve` the approver, for `disclose` the mandate's signer. */
  readonly principal: MemberFacts
  readonly facts: PolicyFacts
  readonly program?: PolicyFacts['programs'][number]
  readonly receiver?: ReceiverFacts
}

/** What every question that is about a machine knows. */
export interface MachineRequest {
  readonly facts: Pick<PolicyFacts, 'tee' | 'time' | 'uses'>
}

/** The one question about a secret. */
export interface SecretRequest {
  readonly action: 'readSecret'
  readonly facts: SecretFacts
}

/** Every question that `facts` raise: compute for each program, readOutput for each receiver, and what else is wanted. */
export function requestsOf(facts: PolicyFacts): readonly PolicyRequest[] {
  const principal = facts.author
  const requests: PolicyRequest[] = []
  for (const program of facts.programs) requests.push({ action: 'compute', principal, facts, program })
  for (const receiver of facts.receivers) requests.push({ action: 'readOutput', principal, facts, receiver })
  if (facts.derives) requests.push({ action: 'derive', principal, facts })
  for (const approver of facts.approvers) requests.push({ action: 'approve', principal: approver, facts })
  if (facts.disclosure !== null) requests.push({ action: 'disclose', principal: facts.disclosure.regulator, facts })
  return requests
}

/** A question in the engine's terms; what is in it is fixed by `cedarSchema`. */
export interface CedarRequest {
  readonly principal: EntityUid
  readonly action: EntityUid
  readonly resource: EntityUid
  readonly context: Context
}

/** What a guest asks for, in the engine's terms. */
export function cedarSecretRequest({ action, facts }: SecretRequest): CedarRequest {
  const { guest, tee, time, uses } = facts
  return {
    principal: uid('Guest', guest.evidence),
    action: uid('Action', action),
    resource: uid('Asset', facts.asset.manifest),
    context: {
      attestation: guest.attestation,
      hostData: guest.hostData,
      measurement: guest.measurement,
      tee: teeRecord(tee),
      time: { earliest: time.earliest, latest: time.latest },
      uses: uses ?? usesUncounted,
    },
  }
}

/** Every entity that a request for a secret can reach. */
export function cedarSecretEntities({ asset, guest }: SecretFacts): EntityJson[] {
  return [
    { uid: uid('Organisation', asset.owner), attrs: {}, parents: [] },
    { uid: uid('Guest', guest.evidence), attrs: {}, parents: [] },
    { uid: uid('Asset', asset.manifest), attrs: assetRecord(asset), parents: [] },
  ]
}

export function cedarRequest(request: PolicyRequest): CedarRequest {
  const { facts } = request
  return {
    principal: accountUid(request.principal),
    action: uid('Action', request.action),
    resource: uid('Asset', facts.asset.manifest),
    context: contextOf(request),
  }
}

/** Every entity that a request over `facts` can reach. */
export function cedarEntities(facts: PolicyFacts): EntityJson[] {
  const entities = new Map<string, EntityJson>()
  const add = (entity: TypeAndId, attrs: EntityJson['attrs'], parents: TypeAndId[] = []) =>
    entities.set(`${entity.type} ${entity.id}`, { uid: entity, attrs, parents })
  const addMember = (member: MemberFacts) => {
    const organisation = uid('Organisation', member.organisation)
    add(organisation, {})
    add(accountUid(member), memberRecord(member), [organisation])
  }
  const { asset } = facts
  add(uid('Organisation', asset.owner), {})
  add(uid('Asset', asset.manifest), assetRecord(asset))
  for (const program of facts.programs) {
    add(uid('Organisation', program.publisher), {})
    add(uid('Program', program.digest), {
      digest: program.digest,
      publisher: reference('Organisation', program.publisher),
    })
  }
  for (const member of members(facts)) addMember(member)
  return [...entities.values()]
}

/**
 * Two facts that name the same thing and say different things of it, or undefined. Such facts can't all come from
 * verified documents, and keeping either one would let the other be ignored.
 */
export function contradictionIn(facts: PolicyFacts): string | undefined {
  const seen = new Map<string, string>()
  const says = (name: string, value: string): boolean => {
    const before = seen.get(name)
    seen.set(name, value)
    return before !== undefined && before !== value
  }
  for (const member of members(facts)) {
    const name = `account ${member.account} of ${member.organisation}`
    if (says(name, JSON.stringify([...new Set(member.roles)].sort()))) return `${name} has two sets of roles`
  }
  for (const { account, role, roles } of facts.receivers) {
    if (!roles.includes(role)) return `account ${account} is named as ${role}, which is not one of its roles`
  }
  for (const program of facts.programs) {
    if (says(`program ${program.digest}`, program.publisher)) return `program ${program.digest} has two publishers`
  }
  return undefined
}

// More than any limit: what nobody counts is within none.
const usesUncounted = Number.MAX_SAFE_INTEGER

function members(facts: PolicyFacts): readonly MemberFacts[] {
  const regulator = facts.disclosure === null ? [] : [facts.disclosure.regulator]
  return [facts.author, ...facts.receivers, ...facts.approvers, ...regulator]
}

function contextOf({ action, facts, program, receiver }: PolicyRequest): Context {
  const request: Context = {
    author: memberRecord(facts.author),
    contract: facts.contract.digest,
    programPublishers: facts.programs.map((each) => reference('Organisation', each.publisher)),
    programs: facts.programs.map((each) => reference('Program', each.digest)),
    purpose: facts.contract.purpose,
    receiverAccounts: facts.receivers.map((each) => each.account),
    receiverOrganisations: facts.receivers.map((each) => reference('Organisation', each.organisation)),
    receiverRoles: facts.receivers.map((each) => each.role),
    receivers: facts.receivers.map((each) => ({ ...memberRecord(each), role: each.role })),
    runs: facts.contract.runs,
    time: { earliest: facts.time.earliest, latest: facts.time.latest },
  }
  if (action === 'approve') return request
  const release: Context = {
    ...request,
    isolation: facts.isolation,
    place: { region: facts.place.region, source: facts.place.source },
    tee: teeRecord(facts.tee),
    uses: facts.uses ?? usesUncounted,
  }
  if (action === 'compute') return { ...release, program: reference('Program', program!.digest) }
  if (action === 'readOutput')
    return { ...release, receiver: { __entity: accountUid(receiver!) }, receiverRole: receiver!.role }
  if (action === 'disclose') return { ...release, scope: facts.disclosure!.scope }
  return release
}

function teeRecord(tee: PolicyFacts['tee']): Record<string, string | boolean> {
  return {
    boundary: tee.boundary,
    debug: tee.debug,
    kind: tee.kind,
    platformId: tee.platformId,
    product: tee.product,
    provider: tee.provider,
    simulated: tee.simulated,
  }
}

function assetRecord(asset: PolicyFacts['asset']): EntityJson['attrs'] {
  return {
    kind: asset.kind,
    manifest: asset.manifest,
    owner: reference('Organisation', asset.owner),
    purposes: [...asset.purposes],
    series: asset.series,
    sources: [...asset.sources],
    revision: asset.revision,
  }
}

function memberRecord(member: MemberFacts): EntityJson['attrs'] {
  return {
    account: member.account,
    organisation: reference('Organisation', member.organisation),
    roles: [...member.roles],
  }
}

// One key may be an account of several organisations, so both name the entity: `<organisation>/<account>`.
function accountUid(member: MemberFacts): TypeAndId {
  return uid('Account', `${member.organisation}/${member.account}`)
}

function uid(type: string, id: string): TypeAndId {
  return { type: `Cella::${type}`, id }
}

function reference(type: string, id: string): { __entity: TypeAndId } {
  return { __entity: uid(type, id) }
}
