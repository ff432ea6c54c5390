import { type Digest, Secret } from '@cella/bytes'
import type { Role } from '@cella/documents'
import { ed25519PublicKey, generateHpkeKeyPair, keyIdOf, randomBytes } from '@cella/primitives'
import {
  addMember,
  createOrganisation,
  joinOrganisation,
  type Keys,
  memberCard,
  noEnd,
  openHome,
  openSession,
  publishTerms,
  type Session,
  type SigningKey,
  type TermsDraft,
  termsFor as termsOf,
  trustOrganisation,
} from '@cella/sdk'
import type { InstallationFile } from './installation.ts'

/** An organisation with one person. Its keys are in memory alone: deriving them from a passphrase takes a second each. */
export interface Party {
  readonly name: string
  readonly folder: string
  readonly keys: Keys
  readonly session: Session
  readonly id: Digest
  readonly membership: Digest
}

/** Where a person's home is, and what their clock says; default: the time of this machine. */
export interface Where {
  readonly folder: string
  readonly installation: InstallationFile
  readonly now?: () => number
}

/** Founds an organisation with terms that accept this installation. */
export async function founded(
  { name, roles, keys: given }: { name: string; roles: readonly Role[]; keys?: Keys },
  { folder, installation, now }: Where,
): Promise<Party> {
  const keys = given ?? (await freshKeys())
  const home = await openHome({ folder, env: {} })
  await home.saveProfile({ manager: installation.manager })
  await home.saveAnchors({
    format: 'cella-anchors/1',
    organisations: [],
    logs: [{ policy: installation.logPolicy, independentWitnesses: [] }],
    roots: installation.roots,
  })
  const session = await openSession({ home, unlock: async () => keys, ...(now && { now }) })
  const { id, membership } = await createOrganisation(session, { name, memberName: `${name} officer`, roles })
  await publishTerms(session, termsFor(installation))
  return { name, folder, keys, session, id, membership }
}

/** Somebody else whom the organisation takes in, on a machine of their own, trusting whom it trusts. */
export async function joined(
  party: Party,
  { name, roles, folder, keys: given }: { name: string; roles: readonly Role[]; folder: string; keys?: Keys },
): Promise<Party> {
  const keys = given ?? { ...(await freshKeys()), roots: [] }
  const home = await openHome({ folder, env: {} })
  await home.saveProfile({ manager: party.session.manager.url })
  await home.saveAnchors(await party.session.anchors())
  const session = await openSession({ home, unlock: async () => keys, now: party.session.now })
  const { document } = await addMember(party.session, {
    card: memberCard(keys, name),
    roles,
    notBefore: 0,
    notAfter: noEnd,
  })
  await joinOrganisation(session, party.id)
  return { name, folder, keys, session, id: party.id, membership: document.digest }
}

/** Terms that accept this installation and nothing else. */
export function termsFor({ roots, builds, logPolicy }: InstallationFile): TermsDraft {
  return termsOf({ roots, builds, log: logPolicy })
}

/** Everyone puts everyone's id among its anchors. */
export async function introduce(parties: readonly Party[]): Promise<void> {
  await Promise.all(
    parties.map(async ({ session, id }) => {
      for (const other of parties) {
        if (other.id !== id) await trustOrganisation(session, { id: other.id, name: other.name })
      }
    }),
  )
}

/** The same person at another manager address, with what it saw of the log before. */
export async function sessionAt({ folder, keys }: Party, manager: string): Promise<Session> {
  return openSession({ home: await openHome({ folder, env: {} }), manager, unlock: async () => keys })
}

export async function freshKeys(): Promise<Keys> {
  const pair = await generateHpkeKeyPair()
  return {
    account: signingKey(),
    hpke: { publicKey: pair.publicKey, privateKey: new Secret(pair.privateKey) },
    roots: [signingKey()],
  }
}

function signingKey(): SigningKey {
  const seed = randomBytes(32)
  const publicKey = ed25519PublicKey(seed)
  return { keyId: keyIdOf(publicKey), publicKey, seed: new Secret(seed) }
}
