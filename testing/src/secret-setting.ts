import type { AddressInfo } from 'node:net'
import type { TestContext } from 'node:test'
import { encodeBase64url, encodeUtf8 } from '@cella/bytes'
import { type Manifest, type Payload, parseDocumentOf, type SignedDocument, type Terms } from '@cella/documents'
import { type AppraisalPolicy, appraisalPolicyJson, rehearsalPolicy, type TrustedRoot } from '@cella/evidence'
import { compilePolicy, type PolicyFlags } from '@cella/policy'
import { simulatedMeasurementHex, type TeeDriver } from '@cella/tee'
import { createVaultServer } from '@cella/vault'
import { kindsLogged } from './enclave-host.ts'
import { type GuestMachine, KbsGuest } from './kbs-guest.ts'
import { publishGrant, type Scenario } from './scenario.ts'
import {
  granted,
  type Place,
  place,
  scenarioFor,
  simulatedRoot,
  startVaultWithFront,
  teeOf,
  workerLaunch,
} from './vaults.ts'
import type { Party } from './world.ts'

// A vault behind HTTP with a secret for guests, for the tests of the key broker protocol.

export const secretText: string = 'postgres://ledger:correct-horse@db'
// The tests' guests run what elsewhere is the worker's launch.
export const guestMeasurement: string = simulatedMeasurementHex(workerLaunch)

const guestPolicy: AppraisalPolicy = { ...rehearsalPolicy, measurements: [guestMeasurement] }

/** The vault, its world, and one secret. */
export interface Setting {
  readonly here: Place
  readonly scenario: Scenario
  readonly url: string
  readonly manifest: SignedDocument<'cella/manifest'>
  readonly policy: SignedDocument<'cella/attestation-policy'> | undefined
  /** `ORGANISATION/SERIES/REVISION` */
  readonly path: string
  /** Moves the clock of the sessions on. */
  readonly wait: (seconds: number) => void
  readonly guest: (machine?: TeeDriver | GuestMachine) => Promise<KbsGuest>
}

export interface Changes {
  readonly terms?: Partial<Terms>
  readonly manifest?: Partial<Manifest>
  readonly flags?: Partial<PolicyFlags>
  readonly appraisal?: Partial<AppraisalPolicy>
  /** Whose attestation policy is published; `null`: nobody's. */
  readonly policyOf?: ((scenario: Scenario) => Party) | null
  readonly secret?: Uint8Array
  /** Under which guests are genuine; the simulated SEV-SNP's where it is absent. */
  readonly roots?: readonly TrustedRoot[]
  /** The operator's collateral file, which the host hands on. */
  readonly collateral?: Uint8Array
}

export function publishPolicy(
  scenario: Scenario,
  party: Party,
  appraisal: Partial<AppraisalPolicy> = {},
  revision = 1,
  roots: readonly TrustedRoot[] = [simulatedRoot],
): Promise<SignedDocument<'cella/attestation-policy'>> {
  return scenario.world.rootSigned(party, 'cella/attestation-policy', {
    name: 'web',
    revision,
    ...scenario.world.window(),
    freshness: 'binding',
    roots: [...roots],
    issuers: [],
    policy: appraisalPolicyJson({ ...guestPolicy, ...appraisal }),
  })
}

/** A vault behind HTTP, and a hospital with a secret for guests of one measurement, which it hands out three times. */
export async function set(context: TestContext, changes: Changes = {}): Promise<Setting> {
  const here = await place(context)
  let ahead = 0
  const { vault, front } = await startVaultWithFront(here, { clock: () => performance.now() + ahead })
  const scenario = await scenarioFor(here, vault, { ...(changes.terms && { terms: changes.terms }) })
  const { world, publisher, hospital } = scenario
  const owner = changes.policyOf === undefined ? hospital : changes.policyOf?.(scenario)
  const policy = owner && (await publishPolicy(scenario, owner, changes.appraisal, 1, changes.roots))
  const asset = world.seal(changes.secret ?? encodeUtf8(secretText))
  const manifest = await world.signed(publisher, 'cella/manifest', {
    kind: 'secret',
    series: 'ledger-db',
    revision: 1,
    previous: null,
    title: 'Ledger',
    sealed: asset.sealed,
    table: null,
    program: null,
    guests: 'web',
    policy: compilePolicy({ secret: true, simulated: true, ...changes.flags }),
    outputRules: { format: 'file', bytesMax: 1 },
    approval: 'policy-suffices',
    purposes: [],
    ...world.window(),
    runs: 3,
    ...changes.manifest,
  })
  await publishGrant(world, publisher, { manifest, sealed: asset, vault: granted(vault), change: { runs: 3 } })
  const where = world.locations[asset.sealed.rootDigest]!
  for (const digest of [where.sealed, where.outboard]) here.host.blobs.set(digest, world.blobs.get(digest)!)
  here.host.secrets = () => ({
    documents: world.documents(),
    locations: { [manifest.digest]: where },
    ...(changes.collateral && { collateral: encodeBase64url(changes.collateral) }),
  })

  const server = createVaultServer(
    () => vault,
    () => front,
  )
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  context.after(() => {
    server.close()
    server.closeAllConnections()
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    here,
    scenario,
    url,
    manifest,
    policy,
    path: `${hospital.id}/ledger-db/1`,
    wait: (seconds) => {
      ahead += seconds * 1000
    },
    guest: async (machine) => new KbsGuest(url, machine ?? (await teeOf(workerLaunch))),
  }
}

export const decisionsOf = ({ here }: Setting): Payload<'cella/secret-decision'>[] =>
  here.host.secretDecisions.map(({ document }) => parseDocumentOf('cella/secret-decision', document).payload)

/** Kinds of the leaves that the vault sent to the log. */
export const logged = ({ here }: Setting): string[] => kindsLogged(here.host)

export const fetches = ({ here }: Setting): number =>
  here.host.calls.filter((call) => call.startsWith('GET /v1/blobs/')).length

export const releases = (setting: Setting): number => logged(setting).filter((kind) => kind === 'release').length
