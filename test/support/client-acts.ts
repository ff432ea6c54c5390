import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import type { Digest } from '@cella/bytes'
import type { KeyId } from '@cella/primitives'
import {
  addMember,
  approveContract,
  askApproval,
  checkInvitation,
  createContract,
  draftRotation,
  eraseEntries,
  grantAsset,
  invite,
  listAssets,
  listWithdrawals,
  memberCard,
  noEnd,
  openHome,
  openOutput,
  readAccess,
  readInbox,
  readInvitation,
  resolveContract,
  revokeDocument,
  rotateKek,
  type Session,
  startRuns,
  submitDraft,
} from '@cella/sdk'
import { freshKeys, type Party, sessionAt } from './parties.ts'
import { draftOf, month, publishPayroll, type Scene } from './scene.ts'

// What people do at a manager, each as one call whose result can be held against what is true.

export interface ClientAct {
  readonly name: string
  /** Does it through the proxy; what it returns was verified, or is the manager’s own word. */
  readonly perform: () => Promise<unknown>
  /** Whether a result is true, or less than the truth, as of a manager that says nothing of some things. */
  readonly isRight: (result: never, honest: never) => boolean | Promise<boolean>
}

interface Setting {
  readonly scene: Scene
  /** Of north: an auditor who may see its stream. */
  readonly auditor: Party
  readonly contract: Digest
  readonly vaults: readonly KeyId[]
  readonly folder: string
  readonly proxyUrl: string
  /** An asset of north’s that no contract uses. */
  readonly spare: Digest
}

const same = (one: unknown, other: unknown): boolean => JSON.stringify(one) === JSON.stringify(other)
const name = (prefix: string): string => `${prefix}-${randomBytes(4).toString('hex')}`

export function clientActs({ scene, auditor, contract, vaults, folder, proxyUrl, spare }: Setting): ClientAct[] {
  const { north, university, office } = scene
  const at = (party: Party): Promise<Session> => sessionAt(party, proxyUrl)
  /** Whether a document is in the log where it was said to be, as the manager says to whom it does not lie. */
  const isLogged = async ({ document, index }: { document: { digest: Digest }; index: number }): Promise<boolean> =>
    (await university.session.manager.document(document.digest)).index === index
  const soon = (): number => Math.floor(Date.now() / 1000) + 3600
  const draft = async (session: Session): Promise<Digest> => {
    const options = { runs: 1, attempts: 1, name: name('draft') }
    const made = await createContract(session, await resolveContract(session, draftOf(scene, options)))
    return made.document.digest
  }
  return [
    {
      name: 'meets the installation by an invitation',
      async perform() {
        const options = { name: 'here', manager: proxyUrl, tlsPin: null, notAfter: soon() }
        const { text } = await invite(university.session, options)
        const home = await openHome({ folder: join(folder, name('guest')), env: {} })
        const { holds, claims, inviter } = await checkInvitation(home, readInvitation(text))
        return { holds, claims: claims.map((one) => [one.claim, one.holds]), inviter }
      },
      isRight: (result: { holds: boolean }, honest) => !result.holds || same(result, honest),
    },
    {
      name: 'reads the inbox',
      async perform() {
        const { approve, asked } = await readInbox(await at(north))
        return [...approve, ...asked].map(({ contract }) => contract)
      },
      isRight: (result: Digest[], honest: Digest[]) => result.every((one) => honest.includes(one)),
    },
    {
      name: 'asks for an approval',
      perform: async () =>
        askApproval(await at(university), { contract, to: north.id, by: soon(), message: name('please') }),
      isRight: isLogged as never,
    },
    {
      name: 'makes a contract, approves it, and withdraws it',
      async perform() {
        const [author, approver] = [await at(university), await at(north)]
        const made = await draft(author)
        const approval = await approveContract(approver, { contract: made, runs: 1, ...month() })
        await revokeDocument(author, {
          ...{ subject: made, reason: 'a test', organisation: university.id },
          signers: [university.keys.account],
        })
        return approval
      },
      isRight: isLogged as never,
    },
    {
      name: 'lists assets',
      perform: async () =>
        (await listAssets(await at(university), { organisations: [north.id] })).assets.map(({ manifest, state }) => [
          manifest.digest,
          state,
        ]),
      isRight: (result: unknown[], honest: unknown[]) =>
        result.every((one) => honest.some((other) => same(one, other))),
    },
    {
      name: 'sees where withdrawals stand',
      perform: async () =>
        (await listWithdrawals(await at(north))).map(({ subject, index, vaults: standing }) => ({
          ...{ subject, index },
          read: standing.filter(({ state }) => state === 'acknowledged').map(({ vault }) => vault),
        })),
      isRight: (
        result: { subject: Digest; index: number; read: KeyId[] }[],
        honest: { subject: Digest; index: number; read: KeyId[] }[],
      ) =>
        result.every(({ subject, index, read }) =>
          honest.some(
            (other) =>
              other.subject === subject && other.index === index && read.every((vault) => other.read.includes(vault)),
          ),
        ),
    },
    {
      name: 'publishes',
      async perform() {
        const session = await at(scene.south)
        const published = await publishPayroll(
          { ...scene.south, session },
          { step: 5, uses: 3, receiver: office.id, series: 'spare' },
        )
        return { document: published.manifest, index: published.index }
      },
      isRight: isLogged as never,
    },
    {
      name: 'grants again to a vault',
      async perform() {
        const { grant, vault } = await grantAsset(await at(north), {
          ...{ manifest: spare, vault: vaults[0]!, runs: 5 },
        })
        return { ...grant, kek: vault.kekId }
      },
      isRight: isLogged as never,
    },
    {
      name: 'rotates a KEK',
      perform: async () => ({ done: await rotateKek(await at(scene.south), { vault: vaults[1]! }) }),
      isRight: () => true,
    },
    {
      name: 'replaces root keys',
      async perform() {
        const session = await at(office)
        const rootKeys = office.keys.roots.map(({ publicKey }) => Buffer.from(publicKey).toString('base64url'))
        return submitDraft(session, await draftRotation(session, { rootKeys, threshold: 1 }))
      },
      isRight: isLogged as never,
    },
    {
      name: 'takes somebody in',
      perform: async () =>
        addMember(await at(office), {
          ...{ card: memberCard(await freshKeys(), name('member')), roles: ['auditor'] },
          ...{ notBefore: 0, notAfter: noEnd },
        }),
      isRight: isLogged as never,
    },
    {
      name: 'has a webhook, and no more',
      async perform() {
        const { manager, ...session } = await at(north)
        await session.keys()
        const added = await manager.addWebhook(north.id, `https://hooks.example/${name('x')}`)
        await manager.webhooks()
        return manager.removeWebhook(added.id)
      },
      isRight: (result) => typeof result === 'boolean',
    },
    {
      name: 'opens an output',
      async perform() {
        const { bytes, verdict } = await openOutput(await at(office), { contract, run: 1 })
        return [Buffer.from(bytes).toString(), verdict.outcome]
      },
      isRight: same,
    },
    {
      name: 'starts a run, looks, and cancels it',
      async perform() {
        const session = await at(university)
        const made = await draft(session)
        const [started] = await startRuns(session, made)
        await session.manager.run(made, started!.run)
        await session.manager.runs({ contract: made })
        return session.manager.cancel(made, started!.run)
      },
      // The manager’s own word, of which nothing depends.
      isRight: (result) => typeof result === 'string',
    },
    {
      name: 'fetches a document',
      async perform() {
        const { document } = await university.session.manager.document(contract)
        return (await (await at(university)).manager.document(contract)).document.length === document.length
      },
      // Unchecked there: who uses it parses and verifies.
      isRight: (result) => typeof result === 'boolean',
    },
    {
      name: 'reads who asked for an asset',
      async perform() {
        const { records, problems } = await readAccess(await at(auditor), { series: 'payroll' })
        return {
          decisions: records.map(({ decision, verdict }) => [decision, verdict]),
          isWhole: problems.length === 0,
        }
      },
      isRight: (
        result: { decisions: unknown[]; isWhole: boolean },
        honest: { decisions: unknown[]; isWhole: boolean },
      ) =>
        result.decisions.every((one) => honest.decisions.some((other) => same(one, other))) &&
        (!result.isWhole || result.decisions.length >= honest.decisions.length),
    },
    {
      name: 'has a body erased',
      perform: async () => eraseEntries(await at(north), { vault: vaults[0]!, entries: [0] }),
      isRight: (result: { erased: readonly number[] }) => result.erased.every((entry) => Number.isInteger(entry)),
    },
  ]
}
