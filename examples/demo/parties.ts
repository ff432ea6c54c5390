import { join } from 'node:path'
import type { Digest } from '@cella/bytes'
import { Secret } from '@cella/bytes'
import type { Role } from '@cella/documents'
import { randomBytes } from '@cella/primitives'
import {
  addRootKeys,
  createOrganisation,
  createProfileKeystore,
  keysOf,
  openHome,
  openSession,
  publishTerms,
  type Session,
  trustOrganisation,
} from '@cella/sdk'
import type { InstallationFile } from './stage.ts'

/** An organisation with one person, on a machine of its own: a home folder with keys that only it holds. */
export interface Party {
  readonly name: string
  readonly home: string
  readonly session: Session
  readonly id: Digest
  readonly membership: Digest
}

/** What `cella org create` and `cella org terms` do, for one party. */
export async function founded(
  { name, person, roles }: { name: string; person: string; roles: readonly Role[] },
  { folder, installation }: { folder: string; installation: InstallationFile },
): Promise<Party> {
  const home = await openHome({ folder, env: {} })
  const keystore = await createProfileKeystore(home, new Secret(randomBytes(24)))
  await addRootKeys(keystore, 1)
  const keys = await keysOf(keystore)
  await home.saveProfile({ manager: installation.manager })
  await home.saveAnchors({
    format: 'cella-anchors/1',
    organisations: [],
    logs: [{ policy: installation.logPolicy, independentWitnesses: [] }],
    roots: installation.roots.map((root) => ({ ...root, spki: root.spki as Digest })),
  })
  const session = await openSession({ home, unlock: async () => keys })
  const { id, membership } = await createOrganisation(session, { name, memberName: person, roles })
  await publishTerms(session, {
    vault: { builds: installation.builds.vault as Digest[], signers: [] },
    worker: { builds: installation.builds.worker as Digest[], signers: [] },
    roots: installation.roots.map((root) => ({ ...root, spki: root.spki as Digest })),
    simulated: true,
    minimumTcb: 'any',
    boundaries: ['vm'],
    isolation: 2,
    chips: 'any',
    log: installation.logPolicy,
    level: 'witnessed',
    collateralDaysMax: 'any',
  })
  return { name, home: join(folder), session, id, membership }
}

/** Everyone puts everyone's id among its anchors: on real machines after a telephone call. */
export async function introduce(parties: readonly Party[]): Promise<void> {
  for (const { session, id } of parties) {
    for (const other of parties) {
      if (other.id !== id) await trustOrganisation(session, { id: other.id, name: other.name })
    }
  }
}
