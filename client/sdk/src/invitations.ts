import { type Digest, decodeBase64url, encodeBase64url, encodeUtf8, type Json } from '@cella/bytes'
import {
  type Invitation,
  parseDocumentOf,
  type SignedDocument,
  signDocument,
  type Terms,
  verifyDocument,
} from '@cella/documents'
import { ChainCache, parseEvidenceJson } from '@cella/evidence'
import { parseLogPolicy } from '@cella/log'
import { type KeyId, keyIdOf, randomBytes } from '@cella/primitives'
import { accountOf, appraiseEnclave, type DocumentSet, organisationName, readDocumentSet } from '@cella/release'
import type { StoredAnchors } from '@cella/verify'
import { z } from 'zod'
import { SdkError } from './error.ts'
import { logPolicyFor } from './home/anchors.ts'
import type { Home } from './home/home.ts'
import { termsFor } from './installation-terms.ts'
import { type OwnLog, openLog } from './log.ts'
import { ManagerClient } from './manager/client.ts'
import { pinnedFetch } from './manager/pinned.ts'
import { membersOf } from './organisations.ts'
import type { Session } from './session.ts'
import { gatherTerms } from './vaults.ts'

// docs/formats/invitation.md

const fileSchema = z.strictObject({
  format: z.literal('cella-invitation/1'),
  /** Envelope of the `cella/invitation`. */
  document: z.string(),
  /** Envelopes of what shows who signed it and what is run: organisations, memberships, builds. */
  documents: z.array(z.string()).max(256),
})
const fileBytesMax = 4 * 1024 * 1024

/**
 * Writes an invitation to the installation that this profile works with, signed by its account: what the profile itself
 * believes of log and TEE, and the builds that its organisation's terms accept. Returns the file's text.
 */
export async function invite(
  session: Session,
  options: { name: string; manager: string; tlsPin: Digest | null; notAfter: number },
): Promise<{ text: string; invitation: SignedDocument<'cella/invitation'> }> {
  const organisation = await session.organisation()
  const { account } = await session.keys()
  const info = await session.info()
  const anchors = await session.anchors()
  logPolicyFor(anchors, info.log.origin)
  const log = anchors.logs.find(({ policy }) => originsOf(policy).includes(info.log.origin))!
  const { terms, documents } = await gatherTerms(session, organisation)
  const builds = (role: 'vault' | 'worker' | 'attestationService' | 'logSigner'): SignedDocument<'cella/build'>[] =>
    documents
      .all('cella/build')
      .filter((build) => terms.payload[role]?.builds.includes(build.digest) === true && documents.counts(build))
  const [vault, worker, attestation, logSigner] = [
    builds('vault'),
    builds('worker'),
    builds('attestationService'),
    builds('logSigner'),
  ]
  if (vault.length === 0 || worker.length === 0) {
    throw new SdkError('ERR_PROFILE_INCOMPLETE', 'your organisation’s terms name no build of a vault and a worker', {
      hint: 'publish terms that do: cella org terms --installation FILE',
    })
  }
  const membership = membersOf(documents, organisation).find(({ payload }) => accountOf(payload) === account.keyId)
  if (membership === undefined) {
    throw new SdkError('ERR_PROFILE_INCOMPLETE', `account ${account.keyId} is no member of ${organisation} now`)
  }
  const invitation = await signDocument<'cella/invitation'>(
    {
      type: 'cella/invitation',
      version: 1,
      organisation,
      signer: account.keyId,
      manager: options.manager,
      tlsPin: options.tlsPin,
      name: options.name,
      log: log.policy,
      independentWitnesses: [...log.independentWitnesses],
      roots: [...anchors.roots],
      vaults: info.vaults.filter(({ home }) => home === undefined).map(({ id }) => id),
      builds: {
        vault: vault.map(({ digest }) => digest),
        worker: worker.map(({ digest }) => digest),
        ...(logSigner.length > 0 && { logSigner: logSigner.map(({ digest }) => digest) }),
        ...(attestation.length > 0 && { attestationService: attestation.map(({ digest }) => digest) }),
      },
      issuedAt: session.now(),
      notAfter: options.notAfter,
    },
    [account.seed.expose()],
  )
  const named = [...vault, ...worker, ...attestation]
  const organisations = new Set([organisation, ...named.map(({ payload }) => payload.organisation)])
  const enclosed = [
    ...documents
      .all('cella/organisation')
      .filter(({ payload, digest }) => organisations.has(payload.organisation ?? digest)),
    membership,
    ...named,
  ]
  const documentTexts = [...new Set(enclosed.map(({ envelope }) => envelope))]
  const text = JSON.stringify({
    format: 'cella-invitation/1',
    document: invitation.envelope,
    documents: documentTexts,
  } satisfies z.input<typeof fileSchema>)
  return { text: `${text}\n`, invitation }
}

/** An invitation as it was read: well formed, and nothing of it checked. */
export interface ReadInvitation {
  readonly envelope: string
  readonly payload: Invitation
  readonly digest: Digest
  readonly documents: readonly string[]
}

/** Throws ERR_INVITATION_MALFORMED. */
export function readInvitation(text: string): ReadInvitation {
  const wrong = (cause?: unknown): SdkError =>
    new SdkError('ERR_INVITATION_MALFORMED', 'this is no invitation, or it was changed on its way', {
      cause,
      hint: '`cella invite` writes one; ask whoever sent it to send it again',
    })
  if (text.length > fileBytesMax) throw wrong()
  try {
    const file = fileSchema.parse(JSON.parse(text))
    const { payload, digest, envelope } = parseDocumentOf('cella/invitation', file.document)
    parseLogPolicy(encodeUtf8(payload.log))
    return { envelope, payload, digest, documents: file.documents }
  } catch (cause) {
    throw wrong(cause)
  }
}

/** One thing that an invitation says, and what was found. */
export interface Claim {
  readonly claim: 'manager' | 'log' | 'witnesses' | 'inviter' | 'validity' | 'vault'
  readonly holds: boolean
  readonly found: string
}

/** What came of checking an invitation against the installation that it leads to. */
export interface CheckedInvitation {
  readonly claims: readonly Claim[]
  readonly holds: boolean
  /** What the inviting organisation calls itself, and the member; undefined where that did not hold. */
  readonly inviter: { readonly organisation: string; readonly member: string } | undefined
}

/** Tries every claim against what answers. Writes nothing; what was believed of the log before still counts. */
export async function checkInvitation(
  home: Home,
  invitation: ReadInvitation,
  options: { fetch?: typeof fetch } = {},
): Promise<CheckedInvitation> {
  const { payload } = invitation
  const claims: Claim[] = []
  const tried = async <Value>(
    claim: Claim['claim'],
    check: () => Promise<[string, Value]>,
  ): Promise<Value | undefined> => {
    try {
      const [found, value] = await check()
      claims.push({ claim, holds: true, found })
      return value
    } catch (error) {
      if (!(error instanceof Error)) throw error
      claims.push({ claim, holds: false, found: error.message })
      return undefined
    }
  }
  const request = options.fetch ?? (payload.tlsPin === null ? undefined : pinnedFetch(payload.tlsPin))
  const manager = new ManagerClient({ url: payload.manager, ...(request && { fetch: request }) })
  const info = await tried('manager', async () => {
    const answer = await manager.info()
    const how = payload.tlsPin === null ? 'by certificate authorities' : 'by the TLS key of the invitation'
    return [`${payload.manager} answers${payload.manager.startsWith('https:') ? `, recognised ${how}` : ''}`, answer]
  })
  if (info === undefined) return { claims, holds: false, inviter: undefined }

  const log = await tried('log', async () => {
    if (!originsOf(payload.log).includes(info.log.origin)) {
      throw new SdkError(
        'ERR_LOG_UNTRUSTED',
        `it serves the log ${info.log.origin}, which the invitation does not name`,
      )
    }
    const opened = await openLog({ manager, home: believing(home, payload), origin: info.log.origin })
    return [`${info.log.origin}, ${opened.checkpoint.size} entries, each read`, opened]
  })
  if (log === undefined) return { claims, holds: false, inviter: undefined }
  await tried('witnesses', async () => {
    const names = log.checkpoint.witnesses.map(({ name }) => name)
    const independent = names.filter((name) => payload.independentWitnesses.includes(name))
    const who =
      independent.length === 0 ? 'none of them independent of the operator' : `independent: ${independent.join(', ')}`
    if (names.length === 0) throw new SdkError('ERR_LOG_UNTRUSTED', 'nobody witnesses this log')
    return [`${names.join(', ')} cosigned; ${who}`, undefined]
  })
  await tried('validity', async () => {
    const now = log.checkpoint.times?.latest ?? 0
    const until = new Date(payload.notAfter * 1000).toISOString()
    if (now > payload.notAfter) throw new SdkError('ERR_INVITATION_EXPIRED', `it ended at ${until}`)
    return [`until ${until}`, undefined]
  })
  const documents = await readDocumentSet([...invitation.documents], log.view)
  const inviter = await tried('inviter', async () => {
    const found = await inviterOf(invitation, documents, log)
    return [`${found.member} of ${found.organisation} (${payload.organisation})`, found]
  })
  for (const vault of payload.vaults) {
    await tried('vault', async () => [await checkVault(manager, { vault, payload, documents, log }), undefined])
  }
  return { claims, holds: claims.every(({ holds }) => holds), inviter }
}

/** Keeps what an invitation says: manager, log, roots, and the inviting organisation under a name of one's own. */
export async function acceptInvitation(home: Home, { payload }: ReadInvitation, name: string): Promise<void> {
  const anchors = await home.anchors()
  const taken = anchors.organisations.find((known) => known.name === name && known.id !== payload.organisation)
  if (taken !== undefined) {
    throw new SdkError('ERR_NAME_AMBIGUOUS', `you trust another organisation by the name “${name}”: ${taken.id}`, {
      hint: 'choose a name that tells them apart: --name "…"',
    })
  }
  const believed = withLogAndRoots(anchors, payload)
  const others = anchors.organisations.filter(({ id }) => id !== payload.organisation)
  await home.saveAnchors({ ...believed, organisations: [...others, { id: payload.organisation, name }] })
  await home.saveProfile({ manager: payload.manager, tlsPin: payload.tlsPin })
}

function originsOf(policy: string): string[] {
  return parseLogPolicy(encodeUtf8(policy)).logs.map(({ key }) => key.name)
}

/** The home as it would be if the invitation were believed; nothing is written. */
function believing(home: Home, payload: Invitation): Home {
  return {
    ...home,
    anchors: async () => withLogAndRoots(await home.anchors(), payload),
    saveLogMemory: async () => undefined,
  }
}

function withLogAndRoots(anchors: StoredAnchors, payload: Invitation): StoredAnchors {
  const origins = originsOf(payload.log)
  const roots = new Set(payload.roots.map(({ spki }) => spki))
  return {
    ...anchors,
    logs: [
      ...anchors.logs.filter(({ policy }) => !originsOf(policy).some((origin) => origins.includes(origin))),
      { policy: payload.log, independentWitnesses: [...payload.independentWitnesses] },
    ],
    roots: [...anchors.roots.filter(({ spki }) => !roots.has(spki)), ...payload.roots],
  }
}

async function inviterOf(
  { envelope, payload }: ReadInvitation,
  documents: DocumentSet,
  log: OwnLog,
): Promise<{ organisation: string; member: string }> {
  const membership = documents.membershipAt(payload.organisation, payload.signer, 'any', log.view.size)
  if (membership === undefined) {
    throw new SdkError(
      'ERR_INVITATION_MALFORMED',
      `${payload.signer} is no member in force of ${payload.organisation}: nobody vouches for it`,
    )
  }
  const key = decodeBase64url(membership.payload.signingKey, 'signingKey')
  await verifyDocument(parseDocumentOf('cella/invitation', envelope), (signer) =>
    signer === payload.signer ? key : undefined,
  )
  return { organisation: organisationName(documents, payload.organisation), member: membership.payload.name }
}

async function checkVault(
  manager: ManagerClient,
  { vault, payload, documents, log }: { vault: KeyId; payload: Invitation; documents: DocumentSet; log: OwnLog },
): Promise<string> {
  const nonce = randomBytes(32)
  const answer = await manager.vaultChallenge(vault, nonce)
  const binding = answer.binding as { readonly [name: string]: Json }
  const expected: { readonly [name: string]: string } = {
    role: 'challenge',
    of: 'vault',
    nonce: encodeBase64url(nonce),
  }
  for (const [member, value] of Object.entries(expected)) {
    if (binding[member] !== value) throw new SdkError('ERR_VAULT_REFUSED', `its evidence is for another ${member}`)
  }
  if (keyIdOf(decodeBase64url(String(binding.signingKey), 'binding.signingKey')) !== vault) {
    throw new SdkError('ERR_VAULT_REFUSED', 'its evidence is for another signing key')
  }
  const terms: Terms = {
    ...termsFor(payload),
    type: 'cella/terms',
    version: 1,
    organisation: payload.organisation,
    signer: payload.signer,
    cosigners: [],
    revision: 1,
    previous: null,
  }
  const { tee, build, reasons } = await appraiseEnclave(
    { role: 'vault', evidence: parseEvidenceJson(answer.evidence as Json), binding, isolation: 0 },
    { terms, documents, now: log.checkpoint.times?.latest ?? 0, cache: new ChainCache() },
  )
  if (reasons.length > 0) {
    const words = reasons.map(({ code, expected: wanted, got }) => `${code}: expected ${wanted}, got ${got}`)
    throw new SdkError('ERR_VAULT_REFUSED', words.join('; '))
  }
  return `${vault} runs ${build?.payload.release ?? 'an accepted build'} in ${tee.simulated ? 'a SIMULATED ' : ''}${tee.kind}`
}
