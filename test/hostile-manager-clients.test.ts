import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { type Digest, encodeUtf8 } from '@cella/bytes'
import { type Payload, parseDocumentOf, signDocument } from '@cella/documents'
import { generateHpkeKeyPair, keyIdOf, randomBytes } from '@cella/primitives'
import {
  addMember,
  approveContract,
  createContract,
  fetchReceipt,
  gatherForContract,
  memberCard,
  noEnd,
  openOutput,
  resolveContract,
  revokeDocument,
  type Session,
} from '@cella/sdk'
import { type Attack, flipped, HostileProxy, jsonOf, type Reply, withJson } from '../testing/src/hostile-proxy.ts'
import {
  flippedEnvelope,
  flippedText,
  instead,
  onAnswer,
  onBytes,
  routes,
  withoutCosignatures,
} from './support/attacks.ts'
import { RealInstallation, removeFolder, takeBundles, temporaryFolder } from './support/installation.ts'
import { founded, freshKeys, type Party, sessionAt } from './support/parties.ts'
import { approvedContract, draftOf, month, publishPayroll, runOnce, type Scene, setScene } from './support/scene.ts'

// The manager as the adversary of its own clients: what it answers to those who publish, sign, revoke, open and verify.

const folder = temporaryFolder('hostile-clients')
let proxy: HostileProxy
let installation: RealInstallation
let scene: Scene
let contract: Digest
let mallory: Party
let university: Session
let north: Session
let office: Session

before(async () => {
  proxy = await HostileProxy.open()
  const enclaves = takeBundles(join(folder, 'enclave'))
  const options = ['--port', '0', '--local-witnesses', '1', '--enclaves', enclaves]
  installation = new RealInstallation(join(folder, 'data'), options)
  const file = await installation.up()
  proxy.upstream = file.manager
  scene = await setScene(file, { folder, uses: 100 })
  mallory = await founded(
    { name: 'mallory', roles: ['receiver', 'publisher'] },
    { folder: join(folder, 'mallory'), installation: file },
  )
  contract = await approvedContract(scene, { runs: 10, attempts: 1 })
  for (let run = 0; run < 2; run++) {
    assert.equal((await runOnce(scene.university.session, contract)).status, 'finished')
  }
  ;[university, north, office] = await Promise.all([
    sessionAt(scene.university, proxy.url),
    sessionAt(scene.north, proxy.url),
    sessionAt(scene.office, proxy.url),
  ])
  // The unhindered way through the proxy, which also shows it the answers that attacks use.
  assert.equal(Buffer.from((await openOutput(office, { contract, run: 1 })).bytes).toString(), scene.result)
  await openOutput(office, { contract, run: 2 })
})

after(async () => {
  try {
    await installation?.down()
    await proxy?.close()
  } finally {
    removeFolder(folder)
  }
})

interface Case {
  readonly name: string
  readonly attack: () => Attack | Promise<Attack>
  readonly act: () => Promise<unknown>
  readonly code: string | RegExp
}

async function isNoticed({ attack, act, code }: Case): Promise<void> {
  proxy.attack = await attack()
  try {
    await assert.rejects(act(), (error: Error & { code?: string }) => {
      assert.match(error.code ?? error.stack ?? '', typeof code === 'string' ? new RegExp(`^${code}$`) : code)
      return true
    })
  } finally {
    proxy.attack = undefined
  }
}

const receiptOf = (run: number): RegExp => new RegExp(`/${run}/receipt$`)
const outputsOf = (run: number): RegExp => new RegExp(`/${run}/outputs$`)
const seen = (path: RegExp): Reply => proxy.recent(path).find(({ reply }) => reply.status < 300)!.reply

interface Listed {
  documents: { digest: string; document: string; index: number; salt: string }[]
}

/** Changes lists of documents, whatever was asked for. */
function onLists(change: (documents: Listed['documents']) => Listed['documents']): Attack {
  return onAnswer<Listed>(/^\/v1\/(?:documents|assets)\?/, (answer) => ({
    ...answer,
    documents: change(answer.documents),
  }))
}

describe('to who publishes', () => {
  const publish = async () =>
    publishPayroll(
      { ...scene.north, session: await sessionAt(scene.north, proxy.url) },
      { step: 5, uses: 3, receiver: scene.office.id },
    )
  const kekAnswer = async (change: (answer: { binding: Record<string, unknown>; evidence: unknown }) => unknown) =>
    onAnswer(routes.kek, change)
  const cases: Omit<Case, 'act' | 'code'>[] = [
    {
      name: 'its own KEK in place of the vault’s',
      attack: async () => {
        const own = Buffer.from((await generateHpkeKeyPair()).publicKey).toString('base64url')
        return kekAnswer((answer) => ({ ...answer, binding: { ...answer.binding, kek: own } }))
      },
    },
    {
      name: 'its own vault in place of the one named',
      attack: () => {
        const id = keyIdOf(randomBytes(32))
        const real = installation.file().vaults[0]!
        return async (call, pass) => {
          const { authorization: _, ...headers } = call.headers
          const reply = await pass(routes.kek.test(call.path) ? { path: call.path.replace(id, real), headers } : {})
          if (call.path !== '/v1/info') return reply
          const info = jsonOf(reply) as { vaults: object[] }
          return withJson(reply, { ...info, vaults: [{ ...info.vaults[0], id }] })
        }
      },
    },
    {
      name: 'its own signing key in the binding',
      attack: () =>
        kekAnswer((answer) => ({
          ...answer,
          binding: { ...answer.binding, signingKey: Buffer.from(randomBytes(32)).toString('base64url') },
        })),
    },
    {
      name: 'the KEK of another organisation, freshly attested',
      attack: () =>
        instead(routes.kek, async (call) => {
          const body = { ...(jsonOf(call) as object), organisation: mallory.id }
          const answer = await fetch(`${proxy.upstream}${call.path}`, {
            method: 'POST',
            headers: { 'content-type': 'application/json' },
            body: JSON.stringify(body),
          })
          return { status: 200, headers: { 'content-type': 'application/json' }, body: await answer.bytes() }
        }),
    },
    {
      name: 'an answer to an older nonce',
      attack: async () => {
        const vault = installation.file().vaults[0]!
        const answer = await scene.north.session.manager.vaultKek(vault as never, scene.north.id, randomBytes(32))
        return kekAnswer(() => answer)
      },
    },
    {
      // The vault itself makes it, over the client's own nonce: what refuses it is its role.
      name: 'the vault’s answer to a challenge',
      attack: () =>
        instead(routes.kek, async (call) => {
          const { nonce } = jsonOf(call) as { nonce: string }
          const answer = await fetch(`${proxy.upstream}${call.path.replace(/kek$/, 'challenge')}`, {
            method: 'POST',
            headers: { 'content-type': 'application/json' },
            body: JSON.stringify({ nonce }),
          })
          const { binding, evidence } = (await answer.json()) as { binding: object; evidence: unknown }
          const kek = Buffer.from(randomBytes(1216)).toString('base64url')
          const body = encodeUtf8(
            JSON.stringify({ binding: { ...binding, kek, organisation: scene.north.id }, evidence }),
          )
          return { status: 200, headers: { 'content-type': 'application/json' }, body }
        }),
    },
    {
      name: 'evidence with a bit flipped',
      attack: () =>
        kekAnswer((answer) => {
          const text = JSON.stringify(answer.evidence)
          const longest = [...text.matchAll(/"([A-Za-z0-9_-]{200,})"/g)].map(([, found]) => found!)[0]!
          return { ...answer, evidence: JSON.parse(text.replace(longest, flippedText(longest))) }
        }),
    },
  ]
  for (const one of cases) {
    test(one.name, async () => {
      const submitted = proxy.recent(routes.submit).length
      const uploaded = proxy.recent(routes.upload).length
      await isNoticed({ ...one, act: publish, code: 'ERR_VAULT_REFUSED' })
      assert.equal(proxy.recent(routes.submit).length, submitted, 'a grant or manifest left')
      assert.equal(proxy.recent(routes.upload).length, uploaded, 'ciphertext left')
    })
  }
})

describe('to who signs, approves and revokes', () => {
  const throwaway = async (): Promise<Digest> => {
    const draft = draftOf(scene, { runs: 1, attempts: 1, name: `draft-${Buffer.from(randomBytes(4)).toString('hex')}` })
    const { document } = await createContract(
      scene.university.session,
      await resolveContract(scene.university.session, draft),
    )
    return document.digest
  }
  const revoke = async () =>
    revokeDocument(university, {
      subject: await throwaway(),
      reason: 'a mistake',
      organisation: scene.university.id,
      signers: [scene.university.keys.account],
    })
  const approve = () => approveContract(north, { contract, runs: 5, ...month() })
  const swallow = (change: (earlier: object, asked: { document: string }) => object): Attack =>
    instead(routes.submit, (call) => {
      const earlier = seenSubmission
      return withJson(earlier, change(jsonOf(earlier) as object, jsonOf(call) as { document: string }))
    })
  const digestIn = (document: string, type: 'cella/revocation' | 'cella/approval') =>
    parseDocumentOf(type, document).digest
  let seenSubmission: Reply

  before(async () => {
    await approveContract(north, { contract, runs: 1, ...month() })
    seenSubmission = seen(routes.submit)
  })

  const cases: Case[] = [
    {
      name: 'swallows a revocation and answers with an older submission',
      attack: () => swallow((earlier) => earlier),
      act: revoke,
      code: 'ERR_PROOF_INVALID',
    },
    {
      name: 'swallows a revocation and puts its digest over another’s proof',
      attack: () =>
        swallow((earlier, { document }) => {
          const { index, leaf, proof } = earlier as { index: number; leaf: string; proof: string }
          return { ...earlier, digest: digestIn(document, 'cella/revocation'), revoked: { index, leaf, proof } }
        }),
      act: revoke,
      code: 'ERR_PROOF_INVALID',
    },
    {
      name: 'logs the document of a revocation and not the withdrawal',
      attack: () => async (call, pass) => {
        const reply = await pass()
        if (!routes.submit.test(call.path)) return reply
        const { revoked: _, ...rest } = jsonOf(reply) as { revoked?: unknown }
        return withJson(reply, rest)
      },
      act: revoke,
      code: 'ERR_PROOF_INVALID',
    },
    {
      name: 'shows the document’s own proof as that of the withdrawal',
      attack: () => async (call, pass) => {
        const reply = await pass()
        if (!routes.submit.test(call.path)) return reply
        const answer = jsonOf(reply) as { index: number; leaf: string; proof: string }
        const { index, leaf, proof } = answer
        return withJson(reply, { ...answer, revoked: { index, leaf, proof } })
      },
      act: revoke,
      code: 'ERR_PROOF_INVALID',
    },
    {
      name: 'swallows an approval',
      attack: () => swallow((earlier, { document }) => ({ ...earlier, digest: digestIn(document, 'cella/approval') })),
      act: approve,
      code: 'ERR_PROOF_INVALID',
    },
    {
      name: 'flips a bit of the proof',
      attack: () => async (call, pass) => {
        const reply = await pass()
        if (!routes.submit.test(call.path)) return reply
        const answer = jsonOf(reply) as { proof: string }
        const at = answer.proof.lastIndexOf('— ') + 60
        const letter = answer.proof[at] === 'A' ? 'B' : 'A'
        return withJson(reply, { ...answer, proof: answer.proof.slice(0, at) + letter + answer.proof.slice(at + 1) })
      },
      act: approve,
      code: 'ERR_PROOF_INVALID',
    },
    {
      name: 'says another index than the proof',
      attack: () => async (call, pass) => {
        const reply = await pass()
        if (!routes.submit.test(call.path)) return reply
        const answer = jsonOf(reply) as { index: number }
        return withJson(reply, { ...answer, index: answer.index + 1 })
      },
      act: approve,
      code: 'ERR_PROOF_INVALID',
    },
  ]
  for (const one of cases) test(one.name, () => isNoticed(one))
})

describe('to who resolves names', () => {
  const resolve = () => resolveContract(university, draftOf(scene, { runs: 1, attempts: 1 }))
  const isOf = (type: string, organisation: Digest) => (envelope: string) => {
    const payload = payloadOf(envelope)
    return payload.type === type && payload.organisation === organisation
  }
  const cases: Case[] = [
    {
      name: 'a receiver’s membership that the attacker signed for the office',
      attack: async () => {
        const keys = await freshKeys()
        const { keys: own } = mallory
        const payload: Payload<'cella/membership'> = {
          type: 'cella/membership',
          version: 1,
          organisation: scene.office.id,
          signer: own.roots[0]!.keyId,
          cosigners: [],
          name: 'office officer',
          signingKey: memberCard(keys, 'x').signingKey,
          hpkeKey: memberCard(keys, 'x').hpkeKey,
          roles: ['receiver'],
          notBefore: 0,
          notAfter: noEnd,
        }
        const forged = await signDocument<'cella/membership'>(payload, [own.roots[0]!.seed.expose()])
        return onLists((documents) =>
          documents.map((one) =>
            isOf('cella/membership', scene.office.id)(one.document) ? { ...one, document: forged.envelope } : one,
          ),
        )
      },
      act: resolve,
      code: 'ERR_DRAFT_REFUSED',
    },
    {
      name: 'a receiver of the attacker’s organisation in place of the office’s',
      attack: async () => {
        const member = await addMember(mallory.session, {
          card: memberCard(await freshKeys(), 'office officer'),
          roles: ['receiver'],
          notBefore: 0,
          notAfter: noEnd,
        })
        return onLists((documents) =>
          documents.map((one) =>
            isOf('cella/membership', scene.office.id)(one.document)
              ? { ...one, document: member.document.envelope, digest: member.document.digest }
              : one,
          ),
        )
      },
      act: resolve,
      code: 'ERR_DRAFT_REFUSED',
    },
    {
      name: 'the payroll of another in place of the one named',
      attack: async () => {
        const { documents: listed } = await scene.south.session.manager.assets({ organisations: [scene.south.id] })
        const theirs = listed.find(({ document }) => isOf('cella/manifest', scene.south.id)(document))!
        return onLists((documents) =>
          documents.map((one) =>
            isOf('cella/manifest', scene.north.id)(one.document) ? { ...one, document: theirs.document } : one,
          ),
        )
      },
      act: resolve,
      code: 'ERR_NAME_UNKNOWN',
    },
    {
      name: 'a manifest with a bit flipped',
      attack: () =>
        onLists((documents) =>
          documents.map((one) =>
            isOf('cella/manifest', scene.north.id)(one.document)
              ? { ...one, document: flippedEnvelope(one.document) }
              : one,
          ),
        ),
      act: resolve,
      code: 'ERR_NAME_UNKNOWN',
    },
    {
      name: 'another contract in place of the one asked for',
      attack: () => {
        const asked = new RegExp(`^/v1/documents\\?.*digest=${contract}`)
        return onAnswer<Listed>(asked, ({ documents, ...answer }) => ({
          ...answer,
          documents: documents.map((listed) => ({ ...listed, document: scene.assets.north.manifest.envelope })),
        }))
      },
      act: () => gatherForContract(university, contract),
      code: 'ERR_NAME_UNKNOWN',
    },
    {
      name: 'a list without an end',
      attack: () => onAnswer<Listed>(/^\/v1\/documents\?/, (answer) => ({ ...answer, next: 1 })),
      act: resolve,
      code: 'ERR_MANAGER_ANSWER',
    },
    {
      name: 'a log that nobody named',
      attack: () =>
        onAnswer<{ log: object }>(/^\/v1\/info$/, (info) => ({
          ...info,
          log: { ...info.log, origin: 'log.example/mallory' },
        })),
      act: async () => (await sessionAt(scene.university, proxy.url)).log(),
      code: 'ERR_LOG_UNTRUSTED',
    },
  ]
  for (const one of cases) test(one.name, () => isNoticed(one))
})

describe('to who reads the log', () => {
  const read = () => university.log()
  const origin = () => installation.file().log.origin
  const cases: Case[] = [
    {
      name: 'an old checkpoint',
      attack: () => {
        const old = proxy.recent(routes.checkpoint).at(-1)!.reply
        return instead(routes.checkpoint, () => old)
      },
      act: read,
      code: 'ERR_LOG_INCONSISTENT',
    },
    {
      name: 'an old checkpoint, to a client that was started again',
      attack: () => {
        const old = proxy.recent(routes.checkpoint).at(-1)!.reply
        return instead(routes.checkpoint, () => old)
      },
      act: async () => (await sessionAt(scene.university, proxy.url)).log(),
      code: 'ERR_LOG_INCONSISTENT',
    },
    {
      name: 'a checkpoint without cosignatures',
      attack: () => onBytes(routes.checkpoint, (bytes) => withoutCosignatures(bytes, origin())),
      act: read,
      code: 'ERR_LOG_QUORUM',
    },
    {
      name: 'entries with a bit flipped, to a client that was started again',
      attack: () => onBytes(routes.tile, flipped),
      act: async () => (await sessionAt(scene.university, proxy.url)).log(),
      code: /^ERR_LOG_(?:INCONSISTENT|MALFORMED)$/,
    },
  ]
  for (const one of cases) test(one.name, () => isNoticed(one))
})

describe('to who opens and verifies', () => {
  const open = () => openOutput(office, { contract, run: 1 })
  const bundle = () => JSON.parse(Buffer.from(seen(receiptOf(1)).body).toString())
  const altered = (change: (whole: ReturnType<typeof bundle>) => object): Attack =>
    instead(receiptOf(1), () => withJson(seen(receiptOf(1)), change(bundle())))
  const cases: Case[] = [
    {
      name: 'the receipt of another run',
      attack: () => instead(receiptOf(1), () => seen(receiptOf(2))),
      act: open,
      code: 'ERR_RECEIPT_REFUSED',
    },
    {
      name: 'a receipt with a bit flipped',
      attack: () =>
        altered((whole) => ({
          ...whole,
          receipt: { ...whole.receipt, document: flippedEnvelope(whole.receipt.document) },
        })),
      act: open,
      code: /^ERR_(?:RECEIPT_|DOCUMENT_)/,
    },
    {
      name: 'a receipt with a decision left out',
      attack: () => altered((whole) => ({ ...whole, decisions: whole.decisions.slice(1) })),
      act: open,
      code: 'ERR_RECEIPT_REFUSED',
    },
    {
      name: 'a receipt with documents left out',
      attack: () => altered((whole) => ({ ...whole, documents: whole.documents.slice(3) })),
      act: open,
      code: 'ERR_RECEIPT_REFUSED',
    },
    {
      name: 'the evidence of another run in the receipt',
      attack: () => {
        const { evidence } = JSON.parse(Buffer.from(seen(receiptOf(2)).body).toString())
        return altered((whole) => ({ ...whole, evidence }))
      },
      act: open,
      code: 'ERR_RECEIPT_REFUSED',
    },
    {
      name: 'the proof of another entry in the receipt',
      attack: () => altered((whole) => ({ ...whole, receipt: { ...whole.receipt, proof: whole.decisions[0].proof } })),
      act: open,
      code: /^ERR_RECEIPT_/,
    },
    {
      name: 'a receipt cut off',
      attack: () => onBytes(receiptOf(1), (bytes) => bytes.subarray(0, bytes.length >> 1)),
      act: () => fetchReceipt(office, { contract, run: 1 }),
      code: 'ERR_RECEIPT_MALFORMED',
    },
    {
      name: 'the outputs of another run',
      attack: () => instead(outputsOf(1), () => seen(outputsOf(2))),
      act: open,
      code: 'ERR_OUTPUT_REFUSED',
    },
    {
      name: 'an output key that is not for this receiver',
      attack: () =>
        onAnswer<{ outputs: { keys: object[] }[] }>(outputsOf(1), ({ outputs }) => ({
          outputs: outputs.map((output) => ({
            ...output,
            keys: output.keys.map((key) => ({ ...key, membership: mallory.membership })),
          })),
        })),
      act: open,
      code: 'ERR_OUTPUT_REFUSED',
    },
    {
      name: 'an output key with a bit flipped',
      attack: () =>
        onAnswer<{ outputs: { keys: { wrapped: string }[] }[] }>(outputsOf(1), ({ outputs }) => ({
          outputs: outputs.map((output) => ({
            ...output,
            keys: output.keys.map((key) => ({ ...key, wrapped: flippedText(key.wrapped) })),
          })),
        })),
      act: open,
      code: 'ERR_OUTPUT_REFUSED',
    },
    {
      name: 'the ciphertext of an output with a bit flipped',
      attack: () => onBytes(routes.blob, flipped),
      act: open,
      code: 'ERR_OUTPUT_REFUSED',
    },
    {
      name: 'the ciphertext of an output cut off',
      attack: () => onBytes(routes.blob, (bytes) => bytes.subarray(0, bytes.length - 1)),
      act: open,
      code: 'ERR_OUTPUT_REFUSED',
    },
    {
      name: 'no outputs',
      attack: () => onAnswer(outputsOf(1), () => ({ outputs: [] })),
      act: open,
      code: 'ERR_OUTPUT_REFUSED',
    },
    {
      name: 'something that is not in the protocol',
      attack: () => onAnswer(outputsOf(1), () => ({ outputs: 'none' })),
      act: open,
      code: 'ERR_MANAGER_ANSWER',
    },
  ]
  for (const one of cases) test(one.name, () => isNoticed(one))
})

function payloadOf(envelope: string): { type: string; organisation: string | null } {
  const { payload } = JSON.parse(envelope) as { payload: string }
  return JSON.parse(Buffer.from(payload, 'base64url').toString())
}
