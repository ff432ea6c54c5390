import { readFileSync } from 'node:fs'
import {
  initPolicyEngine,
  type MemberFacts,
  type PolicyFacts,
  type PolicyFlags,
  policyEngineUrl,
  type ReceiverFacts,
} from '../src/index.ts'

/** 64 hexadecimal digits that begin with `name`'s bytes. */
export const id = (name: string): string => Buffer.from(name).toString('hex').padEnd(64, '0').slice(0, 64)
/** A key id that begins with `name`. */
export const key = (name: string): string => name.padEnd(43, '-')

export const member = (organisation: string, name: string, ...roles: string[]): MemberFacts => ({
  account: key(name),
  organisation: id(organisation),
  roles,
})

export const receiver = (organisation: string, name: string, role: string): ReceiverFacts => ({
  ...member(organisation, name, role),
  role,
})

export const hour = 3600
export const noon = 1_790_000_000

/** A run that `flags` allow. */
export const facts: PolicyFacts = {
  asset: {
    manifest: id('manifest'),
    owner: id('builders'),
    series: 'payroll',
    revision: 1,
    kind: 'data',
    purposes: ['statistics'],
    sources: [id('deliverer')],
  },
  author: member('university', 'ada', 'publisher'),
  contract: { digest: id('contract'), purpose: 'statistics', runs: 10 },
  programs: [{ digest: id('pay-gap'), publisher: id('university') }],
  receivers: [receiver('office', 'otto', 'receiver')],
  approvers: [],
  derives: false,
  disclosure: null,
  time: { earliest: noon, latest: noon + 60 },
  uses: 1,
  tee: {
    kind: 'sev-snp',
    boundary: 'vm',
    simulated: false,
    debug: false,
    platformId: 'c0ffee'.repeat(16),
    provider: 'example-cloud',
    product: 'Genoa',
  },
  isolation: 2,
  place: { region: 'eu-north', source: 'evidence' },
}

/** The least that can be said and is of use. */
export const flags: PolicyFlags = { programs: [id('pay-gap')], receiverRoles: ['receiver'] }

/** `facts` with the members of `change` replaced; one level deep where they are objects. */
export function factsWith(change: { readonly [Name in keyof PolicyFacts]?: unknown }): PolicyFacts {
  const merged: Record<string, unknown> = { ...facts }
  for (const [name, value] of Object.entries(change)) {
    const before = merged[name]
    const mergeable = typeof value === 'object' && value !== null && !Array.isArray(value) && before !== null
    merged[name] = mergeable ? { ...(before as object), ...value } : value
  }
  return merged as unknown as PolicyFacts
}

/** Starts the engine as an unbundled caller does. */
export async function startEngine(): Promise<void> {
  await initPolicyEngine(readFileSync(policyEngineUrl()))
}
