import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { Digest } from '@cella/bytes'
import { parseDocument, parseDocumentOf } from '@cella/documents'
import { parseCheckpointText, parseNote, parseSkey } from '@cella/log'
import { approveContract, openOutput, publishTerms, type Run, revokeAsset, revokeDocument } from '@cella/sdk'
import { type Attack, flipped, type HostileProxy, jsonOf, type Reply, withJson } from '../testing/src/hostile-proxy.ts'
import {
  type DecideLike,
  flippedDocuments,
  flippedEnvelope,
  flippedText,
  forkedCheckpoint,
  instead,
  type OfferLike,
  of,
  onAnswer,
  onBytes,
  onCheckpoints,
  onLeaves,
  onOffer,
  onRequest,
  onTiles,
  type ReleaseLike,
  replayed,
  routes,
  swappedWorkerKey,
  without,
  withoutCosignatures,
} from './support/attacks.ts'
import type { RealInstallation } from './support/installation.ts'
import { termsFor } from './support/parties.ts'
import { approvedContract, month, runOnce, type Scene } from './support/scene.ts'
import { type Stage, setStage } from './support/stage.ts'

// The manager, and everything behind it, as the adversary: a proxy between it and the enclaves does to their messages
// whatever the table says. No key may reach a wrong place, and each attempt has to end in a code.

let stage: Stage
let proxy: HostileProxy
let installation: RealInstallation
let scene: Scene
let contract: Digest
let other: Digest
let oldTerms: string
let honest: Run

before(async () => {
  stage = await setStage('hostile', { uses: 1000, options: ['--log-signer', 'host'] })
  ;({ proxy, installation, scene } = stage)
  const { file } = stage
  const { north } = scene
  const documents = await north.session.manager.documents({ organisations: [north.id], types: ['cella/terms'] })
  oldTerms = documents[0]!.document
  await publishTerms(north.session, { ...termsFor(file), isolation: 1 })
  contract = await approvedContract(scene, { runs: 1000, attempts: 1 })
  other = await approvedContract(scene, { runs: 1000, attempts: 1, name: 'wages-again' })
  honest = await runOnce(scene.university.session, contract)
  assert.equal(honest.status, 'finished', JSON.stringify(honest.error))
  assert.equal((await runOnce(scene.university.session, other)).status, 'finished')
})

after(() => stage?.close())

interface Case {
  readonly name: string
  readonly attack: () => Attack | Promise<Attack>
  /** What the run has to end with. */
  readonly codes: readonly string[]
  /** One of the reasons, where the vault named some. */
  readonly reason?: string
  /** Whether the vault may answer a release: the keys in it can be opened by the worker alone. */
  readonly isReleased?: boolean
}

async function endsIn({ attack, codes, reason, isReleased = false }: Case): Promise<void> {
  const releasesBefore = releases()
  const run = await proxy.under(await attack(), () => runOnce(scene.university.session, contract))
  assert.ok(run.status === 'refused' || run.status === 'failed', `the run is ${run.status}`)
  assert.ok(codes.includes(run.error?.code ?? ''), `it ended in ${JSON.stringify(run.error)}`)
  if (reason !== undefined) assert.ok(run.error?.reasons?.includes(reason), JSON.stringify(run.error))
  assert.ok(run.receipt === undefined || run.receipt === null)
  if (!isReleased) assert.equal(releases(), releasesBefore, 'a vault released keys')
  await assert.rejects(openOutput(scene.office.session, { contract, run: run.run }), { code: 'ERR_MANAGER_REFUSED' })
}

/** How often a vault gave keys. */
function releases(): number {
  return proxy.recent(routes.release).filter(({ reply }) => reply.status === 200).length
}

const refused = ['ERR_RELEASE_REFUSED']
const missing = 'ERR_DOCUMENT_MISSING'

describe('a manager that changes what it offers', () => {
  const party = (name: 'north' | 'south' | 'university' | 'office') => scene[name].id
  const cases: Case[] = [
    ...(
      [
        ['the contract', () => of('cella/contract')],
        ['an organisation', () => of('cella/organisation', party('north'))],
        ['the memberships of an owner', () => of('cella/membership', party('south'))],
        ['the membership of the receiver', () => of('cella/membership', party('office'))],
        ['the terms of an owner', () => of('cella/terms', party('north'))],
        ['every build', () => of('cella/build')],
        ['a manifest', () => of('cella/manifest', party('south'))],
        ['the program’s manifest', () => of('cella/manifest', party('university'))],
        ['a grant', () => of('cella/grant', party('north'))],
        ['an approval', () => of('cella/approval', party('south'))],
      ] as const
    ).flatMap(([name, test]): Case[] => [
      { name: `leaves out ${name}`, attack: () => without(test()), codes: [...refused, missing] },
      { name: `flips a bit in ${name}`, attack: () => flippedDocuments(test()), codes: [...refused, missing] },
    ]),
    {
      name: 'gives older terms in place of those in force',
      attack: () =>
        onOffer((offer) => ({
          ...offer,
          documents: [
            ...offer.documents.filter((one) => !of('cella/terms', party('north'))(parseDocument(one))),
            oldTerms,
          ],
        })),
      codes: refused,
      reason: 'ERR_DOCUMENT_REVOKED',
    },
    {
      name: 'gives the terms of another organisation',
      attack: () =>
        onOffer((offer) => {
          const theirs = offer.documents.find((one) => of('cella/terms', party('south'))(parseDocument(one)))!
          return {
            ...offer,
            documents: offer.documents.map((one) =>
              of('cella/terms', party('north'))(parseDocument(one)) ? theirs : one,
            ),
          }
        }),
      codes: refused,
      reason: missing,
    },
    {
      name: 'gives an approval of another contract',
      attack: async () => {
        const listed = await scene.north.session.manager.documents({ types: ['cella/approval'], about: [other] })
        return onOffer((offer) => ({
          ...offer,
          documents: [
            ...offer.documents.filter((one) => !of('cella/approval', party('north'))(parseDocument(one))),
            ...listed.map(({ document }) => document),
          ],
        }))
      },
      codes: refused,
      reason: 'ERR_APPROVAL_MISSING',
    },
    {
      name: 'names another contract than the documents',
      attack: () => onOffer((offer) => ({ ...offer, contract: 'ab'.repeat(32) })),
      codes: [missing],
    },
    {
      name: 'names a run beyond the contract’s',
      attack: () => onOffer((offer) => ({ ...offer, run: 5000 })),
      codes: refused,
      reason: 'ERR_CONTRACT_RUNS',
    },
    {
      name: 'names an attempt beyond the contract’s',
      attack: () => onOffer((offer) => ({ ...offer, attempt: 2 })),
      codes: refused,
      reason: 'ERR_CONTRACT_ATTEMPTS',
    },
    {
      name: 'offers something that is no offer',
      attack: () => onOffer((offer) => ({ ...offer, attempt: 99 })),
      codes: ['ERR_OFFER_MALFORMED'],
    },
    {
      name: 'swaps where two assets lie',
      attack: () =>
        onOffer((offer) => {
          const [[first, one], [second, two], ...rest] = Object.entries(offer.locations) as [
            [string, object],
            [string, object],
          ]
          return { ...offer, locations: Object.fromEntries([[first, two], [second, one], ...rest]) }
        }),
      codes: ['ERR_INPUT_NOT_OPENED'],
      isReleased: true,
    },
    {
      name: 'does not say where the assets lie',
      attack: () => onOffer((offer) => ({ ...offer, locations: {} })),
      codes: ['ERR_INPUT_NOT_OPENED'],
      isReleased: true,
    },
  ]
  for (const one of cases) test(one.name, () => endsIn(one))
})

describe('a manager that changes ciphertext', () => {
  const isReleased = true
  const codes = ['ERR_INPUT_NOT_OPENED']
  const blobs =
    (change: (bytes: Uint8Array) => Uint8Array): (() => Attack) =>
    () =>
      onBytes(routes.blob, change)
  const cases: Case[] = [
    { name: 'flips a bit', attack: blobs(flipped), codes, isReleased },
    { name: 'cuts the end off', attack: blobs((bytes) => bytes.subarray(0, bytes.length - 1)), codes, isReleased },
    { name: 'appends a byte', attack: blobs((bytes) => Buffer.concat([bytes, Buffer.from([0])])), codes, isReleased },
    { name: 'gives nothing', attack: blobs(() => new Uint8Array(0)), codes, isReleased },
    {
      name: 'gives one blob for all',
      attack: () => {
        let first: Uint8Array | undefined
        return onBytes(routes.blob, (bytes) => {
          first ??= bytes
          return first
        })
      },
      codes,
      isReleased,
    },
    { name: 'cuts the connection', attack: () => instead(routes.blob, () => 'drop'), codes, isReleased },
  ]
  for (const one of cases) test(one.name, () => endsIn(one))
})

describe('a manager between worker and vault', () => {
  const notAnswered = ['ERR_OFFER_MALFORMED']
  const cases: Case[] = [
    {
      name: 'gives a nonce of an earlier run',
      attack: () => replayed(proxy, routes.nonce),
      codes: ['ERR_NONCE_UNKNOWN'],
    },
    {
      name: 'makes up a nonce',
      attack: () => onAnswer(routes.nonce, () => ({ nonce: 'A'.repeat(43) })),
      codes: ['ERR_NONCE_UNKNOWN'],
    },
    {
      name: 'replays a worker’s request of an earlier run',
      attack: () => {
        const [before] = proxy.recent(routes.decide)
        return (call, pass) => (routes.decide.test(call.path) ? pass({ body: before!.call.body }) : pass())
      },
      codes: ['ERR_NONCE_UNKNOWN'],
    },
    {
      name: 'asks twice with the same evidence',
      attack: () => instead(routes.decide, async (_call, pass) => (await pass()) && (await pass())),
      codes: ['ERR_NONCE_UNKNOWN'],
    },
    {
      name: 'puts its own key in place of the worker’s',
      attack: swappedWorkerKey,
      codes: [...refused, 'ERR_EVIDENCE_BINDING'],
    },
    {
      name: 'asks for another run than the evidence says',
      attack: () => onRequest<OfferLike>(routes.decide, (body) => ({ ...body, run: body.run + 1 })),
      codes: ['ERR_BINDING_MISMATCH'],
    },
    {
      name: 'changes run and binding together',
      attack: () =>
        onRequest<OfferLike & { binding: object }>(routes.decide, (body) => ({
          ...body,
          run: body.run + 1,
          binding: { ...body.binding, run: body.run + 1 },
        })),
      codes: [...refused, ...notAnswered],
    },
    {
      name: 'claims another isolation level than the evidence says',
      attack: () =>
        onRequest<{ binding: object }>(routes.decide, (body) => ({
          ...body,
          binding: { ...body.binding, isolation: 3 },
        })),
      codes: [...refused, ...notAnswered],
    },
    {
      name: 'answers with the decisions of an earlier run',
      attack: () => replayed(proxy, routes.decide),
      codes: notAnswered,
    },
    ...(
      [
        ['flips a bit of a decision', (one) => ({ ...one, document: flippedEnvelope(one.document) })],
        ['flips a bit of a decision’s salt', (one) => ({ ...one, salt: flippedText(one.salt) })],
        ['flips a bit of a decision’s leaf', (one) => ({ ...one, leaf: flippedText(one.leaf) })],
        ['says a wrong index of a decision', (one) => ({ ...one, index: one.index - 1 })],
        ['says an index beyond the log', (one) => ({ ...one, index: one.index + 1000 })],
      ] as [string, (one: DecideLike['decisions'][number]) => object][]
    ).map(
      ([name, change]): Case => ({
        name,
        attack: () =>
          onAnswer<DecideLike>(routes.decide, (answer) => ({
            ...answer,
            decisions: answer.decisions.map((one, at) => (at === 0 ? change(one) : one)),
          })),
        codes: [
          'ERR_DECISION_NOT_PROVEN',
          'ERR_DOCUMENT_MALFORMED',
          'ERR_DOCUMENT_SIGNATURE',
          'ERR_LOG_ENTRY',
          'ERR_LOG_MALFORMED',
        ],
      }),
    ),
    {
      name: 'leaves a decision out',
      attack: () =>
        onAnswer<DecideLike>(routes.decide, (answer) => ({ ...answer, decisions: answer.decisions.slice(1) })),
      codes: notAnswered,
    },
    {
      name: 'changes the vault’s binding',
      attack: () =>
        onAnswer<DecideLike>(routes.decide, (answer) => ({
          ...answer,
          binding: { ...answer.binding, configuration: 'ab'.repeat(32) },
        })),
      codes: refused,
    },
    {
      name: 'gives the vault’s evidence of an earlier run',
      attack: () => {
        const [before] = proxy.recent(routes.decide).filter(({ reply }) => reply.status === 200)
        const { binding, evidence } = jsonOf(before!.reply) as DecideLike
        return onAnswer<DecideLike>(routes.decide, (answer) => ({ ...answer, binding, evidence }))
      },
      codes: notAnswered,
    },
    {
      name: 'replays a release request',
      attack: () => {
        const [before] = proxy.recent(routes.release)
        return (call, pass) => (routes.release.test(call.path) ? pass({ body: before!.call.body }) : pass())
      },
      codes: ['ERR_RELEASE_UNKNOWN'],
    },
    {
      name: 'asks for the release twice',
      attack: () => instead(routes.release, async (_call, pass) => (await pass()) && (await pass())),
      codes: ['ERR_RELEASE_UNKNOWN'],
      isReleased: true,
    },
    {
      name: 'asks for the release with decisions of an earlier run',
      attack: () => {
        const [before] = proxy.recent(routes.release)
        const { decisions } = jsonOf(before!.call) as { decisions: unknown }
        return onRequest<object>(routes.release, (body) => ({ ...body, decisions }))
      },
      codes: ['ERR_RELEASE_UNKNOWN'],
    },
    {
      name: 'asks for the release with a decision left out',
      attack: () =>
        onRequest<{ decisions: unknown[] }>(routes.release, (body) => ({
          ...body,
          decisions: body.decisions.slice(1),
        })),
      codes: ['ERR_RELEASE_UNKNOWN'],
    },
    {
      name: 'swaps two wrapped keys',
      attack: () =>
        onAnswer<ReleaseLike>(routes.release, (answer) => {
          const [one, two, ...rest] = answer.keys
          return {
            ...answer,
            keys: [{ ...one!, wrapped: two!.wrapped }, { ...two!, wrapped: one!.wrapped }, ...rest],
          }
        }),
      codes: ['ERR_SEAL_ENVELOPE_NOT_OPENED'],
      isReleased: true,
    },
    {
      name: 'gives the wrapped keys of an earlier run',
      attack: () => replayed(proxy, routes.release),
      codes: ['ERR_SEAL_ENVELOPE_NOT_OPENED'],
    },
    {
      name: 'flips a bit of a wrapped key',
      attack: () =>
        onAnswer<ReleaseLike>(routes.release, (answer) => ({
          ...answer,
          keys: answer.keys.map((one) => ({ ...one, wrapped: flippedText(one.wrapped) })),
        })),
      codes: ['ERR_SEAL_ENVELOPE_NOT_OPENED'],
      isReleased: true,
    },
    {
      name: 'leaves a wrapped key out',
      attack: () => onAnswer<ReleaseLike>(routes.release, (answer) => ({ ...answer, keys: answer.keys.slice(1) })),
      codes: ['ERR_INPUT_NOT_OPENED'],
      isReleased: true,
    },
    {
      name: 'cuts the connection at decide',
      attack: () => instead(routes.decide, () => 'drop'),
      codes: ['ERR_HOST_UNAVAILABLE'],
    },
    {
      name: 'answers decide with something else',
      attack: () => onAnswer(routes.decide, () => ({ decisions: [] })),
      codes: notAnswered,
    },
  ]
  for (const one of cases) test(one.name, () => endsIn(one))
})

describe('a manager that lies about the log', () => {
  const withLastBit = (bytes: Uint8Array): Uint8Array => {
    const changed = bytes.slice()
    changed[changed.length - 1]! ^= 1
    return changed
  }
  // In a file here, for the operator to misuse.
  const logKey = () => parseSkey(readFileSync(join(installation.data, 'log.key'), 'utf8').trimEnd())
  const origin = () => installation.file().log.origin
  const cases: Case[] = [
    {
      name: 'shows an old checkpoint for ever',
      attack: () => {
        const old = proxy.recent(routes.news).at(-1)!.reply
        return instead(routes.news, () => old)
      },
      codes: ['ERR_LOG_ROLLED_BACK'],
    },
    {
      name: 'shows a fork that the log signed',
      attack: () => onCheckpoints((bytes) => forkedCheckpoint(bytes, logKey(), { cosigned: false })),
      codes: ['ERR_LOG_QUORUM'],
    },
    {
      name: 'shows a fork with the witnesses’ lines of the true one',
      attack: () => onCheckpoints((bytes) => forkedCheckpoint(bytes, logKey(), { cosigned: true })),
      codes: ['ERR_LOG_SIGNATURE'],
    },
    {
      name: 'takes the cosignatures off',
      attack: () => onCheckpoints((bytes) => withoutCosignatures(bytes, origin())),
      codes: ['ERR_LOG_QUORUM'],
    },
    {
      name: 'flips a bit of every entry',
      attack: () => onTiles(flipped),
      codes: ['ERR_LOG_FORKED', 'ERR_LOG_MALFORMED'],
    },
    {
      name: 'flips the last bit of every entry',
      attack: () => onTiles(withLastBit),
      codes: ['ERR_LOG_FORKED', 'ERR_LOG_MALFORMED'],
    },
    {
      name: 'flips the last bit of the leaves that come with a checkpoint',
      attack: () => onLeaves(withLastBit),
      codes: ['ERR_LOG_FORKED', 'ERR_LOG_MALFORMED'],
    },
    {
      name: 'gives leaves that are none',
      attack: () => onLeaves((leaves) => leaves.subarray(1)),
      codes: ['ERR_HOST_MALFORMED', 'ERR_LOG_UNAVAILABLE'],
    },
    {
      name: 'does not give the entries',
      attack: () => onTiles(() => new Uint8Array(0)),
      codes: ['ERR_LOG_UNAVAILABLE', 'ERR_LOG_MALFORMED'],
    },
    {
      name: 'acknowledges entries that it drops',
      attack: () =>
        instead(routes.entries, async (call) => {
          const [newest] = proxy.recent(routes.news)
          const { checkpoint } = jsonOf(newest!.reply) as { checkpoint: string }
          const { size } = parseCheckpointText(parseNote(Buffer.from(checkpoint)).text)
          const indices = Array.from({ length: call.body.length / 64 }, (_, at) => size - 1 - at)
          return withJson(
            { status: 200, headers: { 'content-type': 'application/json' }, body: new Uint8Array() },
            { checkpoint, indices },
          )
        }),
      codes: ['ERR_HOST_MALFORMED', 'ERR_LOG_ROLLED_BACK'],
    },
    {
      name: 'says wrong indices',
      attack: () =>
        onAnswer<{ indices: number[] }>(routes.entries, (answer) => ({
          ...answer,
          indices: answer.indices.map((index) => index - 1),
        })),
      codes: ['ERR_HOST_MALFORMED'],
    },
    {
      name: 'says fewer indices than there were leaves',
      attack: () => onAnswer<object>(routes.entries, (answer) => ({ ...answer, indices: [] })),
      codes: ['ERR_HOST_MALFORMED'],
    },
    {
      name: 'does not take entries',
      attack: () => instead(routes.entries, () => 'drop'),
      codes: ['ERR_HOST_UNAVAILABLE', 'ERR_LOG_UNAVAILABLE'],
    },
  ]
  for (const one of cases) test(one.name, () => endsIn(one))
})

describe('a manager that delays, repeats and mixes up', () => {
  const rightResult = async (run: Run): Promise<void> => {
    assert.equal(run.status, 'finished', JSON.stringify(run.error))
    const opened = await openOutput(scene.office.session, { contract, run: run.run })
    assert.equal(Buffer.from(opened.bytes).toString(), scene.result)
    assert.equal(opened.verdict.outcome, 'proved')
  }

  test('an honest run after all that gives the right result', async () => {
    await rightResult(await runOnce(scene.university.session, contract))
  })

  test('every message late, and out of order where several are under way: the right result', async () => {
    await proxy.under(
      async (call, pass) => {
        await new Promise((resolve) => setTimeout(resolve, (call.path.length * 7 + call.body.length) % 60))
        return pass()
      },
      async () => rightResult(await runOnce(scene.university.session, contract)),
    )
  })

  test('every message that may be repeated is repeated: the right result, and one receipt', async () => {
    const once = /\/(?:decide|release|poll|nonce)$/
    await proxy.under(
      async (call, pass) => {
        const reply = await pass()
        if (!once.test(call.path)) await pass()
        return reply
      },
      async () => rightResult(await runOnce(scene.university.session, contract)),
    )
  })

  test('outputs that are not kept: their receiver notices', async () => {
    const kept = Buffer.from(JSON.stringify({ done: true }))
    proxy.attack = instead(routes.upload, () => ({
      status: 200,
      headers: { 'content-type': 'application/json' },
      body: kept,
    }))
    let run: Run
    try {
      run = await runOnce(scene.university.session, contract)
    } finally {
      proxy.attack = undefined
    }
    assert.equal(run.status, 'finished')
    await assert.rejects(openOutput(scene.office.session, { contract, run: run.run }), { code: 'ERR_MANAGER_REFUSED' })
  })

  test('a run that nobody started: its receiver notices that it is another', async () => {
    // Within the contract's runs a manager may run what its author did not ask for; it can't pass for another run.
    const run = await proxy.under(
      onOffer((offer) => ({ ...offer, run: offer.run + 500 })),
      () => runOnce(scene.university.session, contract),
    )
    await assert.rejects(openOutput(scene.office.session, { contract, run: run.run }), { code: 'ERR_RECEIPT_REFUSED' })
  })

  test('two workers at one attempt: neither gets keys by the decisions about the other', async () => {
    let offer: Reply | undefined
    let decided: DecideLike | undefined
    proxy.attack = async (call, pass) => {
      const reply = await pass()
      if (routes.poll.test(call.path) && reply.status === 200) offer = reply
      if (!routes.decide.test(call.path)) return reply
      decided = jsonOf(reply) as DecideLike
      // The first worker hears nothing, and gives up.
      return 'drop'
    }
    const first = await runOnce(scene.university.session, contract)
    assert.equal(first.error?.code, 'ERR_HOST_UNAVAILABLE')
    const answered = new Promise<Reply>((resolve) => {
      proxy.attack = async (call, pass) => {
        if (!routes.release.test(call.path) || !isAbout(call, first)) {
          const reply = await pass()
          return routes.renew.test(call.path) ? { ...reply, status: 200 } : reply
        }
        const body = { ...(jsonOf(call) as object), decisions: decided!.decisions }
        const reply = await pass({ body: Buffer.from(JSON.stringify(body)) })
        proxy.offer = undefined
        resolve(reply)
        return reply
      }
    })
    // Until a release is asked for: a worker may give an attempt up before.
    proxy.offer = () => offer
    try {
      // Brings the worker back to its poll.
      await runOnce(scene.university.session, other)
      const { status, body } = await answered
      assert.equal(status, 403)
      assert.equal(
        (JSON.parse(Buffer.from(body).toString()) as { error: { code: string } }).error.code,
        'ERR_RELEASE_UNKNOWN',
      )
    } finally {
      proxy.attack = undefined
      proxy.offer = undefined
    }
  })

  test('the same run offered twice ends in the same receipt and costs no further use', async () => {
    const run = await runOnce(scene.university.session, contract)
    const { reply } = proxy.recent(routes.poll).find(({ reply: { status } }) => status === 200)!
    assert.ok(isAbout({ body: reply.body }, run))
    const offer = jsonOf(reply) as OfferLike
    const before = await scene.university.session.manager.run(offer.contract, offer.run)
    const usesBefore = usesOf(offer)
    const served = new Promise<number>((resolve) => {
      proxy.attack = async (call, pass) => {
        const answer = await pass()
        // The lease is over: its phases and draft are waved through, as a manager that wants the run again would.
        if (routes.renew.test(call.path) || routes.draft.test(call.path)) return { ...answer, status: 200 }
        if (routes.outcome.test(call.path) && call.path.includes(`/${offer.lease}/`)) resolve(answer.status)
        return answer
      }
    })
    proxy.offer = () => {
      proxy.offer = undefined
      return reply
    }
    try {
      // The worker waits at the manager's poll; after this run it polls again.
      await runOnce(scene.university.session, contract)
      assert.equal(await served, 200)
    } finally {
      proxy.attack = undefined
      proxy.offer = undefined
    }
    const now = await scene.university.session.manager.run(offer.contract, offer.run)
    assert.equal(now.receipt, before.receipt)
    assert.deepEqual(usesOf(offer).sort(), usesBefore.sort())
  })
})

describe('a manager that hides what was withdrawn', () => {
  const hidden = (): Attack => without(of('cella/revocation'))
  const hide = async (revoke: () => Promise<unknown>, reasons: readonly string[]): Promise<void> => {
    await revoke()
    proxy.attack = hidden()
    const before = releases()
    try {
      const run = await runOnce(scene.university.session, contract)
      assert.equal(run.status, 'refused', JSON.stringify(run))
      for (const reason of reasons) assert.ok(run.error?.reasons?.includes(reason), JSON.stringify(run.error))
      assert.equal(releases(), before)
    } finally {
      proxy.attack = undefined
    }
  }

  const withdrawApproval = async (): Promise<unknown> => {
    const { north } = scene
    const listed = await north.session.manager.documents({ types: ['cella/approval'], about: [contract] })
    const own = listed.filter(({ document }) => of('cella/approval', north.id)(parseDocument(document)))
    return revokeDocument(north.session, {
      subject: parseDocument(own.at(-1)!.document).digest,
      reason: 'second thoughts',
      organisation: north.id,
      signers: [north.keys.account],
    })
  }
  // Within one second the same words would be the same document, which was withdrawn.
  let runs = 1000
  const approveAgain = () => {
    runs += 1
    return approveContract(scene.north.session, { contract, runs, ...month() })
  }

  test('an approval withdrawn: its revocation left out changes nothing', async () => {
    await hide(withdrawApproval, ['ERR_APPROVAL_MISSING'])
    await approveAgain()
    assert.equal((await runOnce(scene.university.session, contract)).status, 'finished')
  })

  test('an approval withdrawn after the release: the program runs, and nothing of it is handed over', async () => {
    let withdrawn: Promise<unknown> | undefined
    proxy.attack = async (call, pass) => {
      if (routes.blob.test(call.path)) {
        withdrawn ??= withdrawApproval()
        await withdrawn
      }
      return pass()
    }
    try {
      const run = await runOnce(scene.university.session, contract)
      assert.equal(run.status, 'failed')
      assert.equal(run.error?.code, 'ERR_OUTPUT_WITHHELD')
      await assert.rejects(openOutput(scene.office.session, { contract, run: run.run }), {
        code: 'ERR_MANAGER_REFUSED',
      })
    } finally {
      proxy.attack = undefined
    }
    await approveAgain()
  })

  test('an asset withdrawn between decision and release: nothing is released', async () => {
    const { south, assets } = scene
    proxy.attack = async (call, pass) => {
      if (routes.release.test(call.path)) {
        await revokeAsset(south.session, { manifest: assets.south.manifest.digest, reason: 'found an error' })
      }
      return pass()
    }
    const before = releases()
    try {
      const run = await runOnce(scene.university.session, contract)
      assert.equal(run.status, 'failed')
      assert.equal(run.error?.code, 'ERR_RELEASE_DENIED')
      assert.equal(releases(), before)
    } finally {
      proxy.attack = undefined
    }
  })

  test('an asset withdrawn: its revocation left out changes nothing', async () => {
    await hide(async () => undefined, ['ERR_DOCUMENT_REVOKED'])
  })
})

/** Whether a message names this very run. */
function isAbout(message: { readonly body: Uint8Array }, run: { contract: string; run: number }): boolean {
  const named = jsonOf(message) as OfferLike
  return named.contract === run.contract && named.run === run.run
}

/** Which uses the decisions about a run name, as "asset use". */
function usesOf({ contract: about, run }: OfferLike): string[] {
  const decided = proxy
    .recent(routes.decide)
    .filter(({ reply }) => reply.status === 200)
    .flatMap(({ reply }) => (jsonOf(reply) as DecideLike).decisions)
    .map(({ document }) => parseDocumentOf('cella/decision', document).payload)
    .filter((decision) => decision.contract === about && decision.run === run)
  return [...new Set(decided.map(({ manifest, use }) => `${manifest} ${use}`))]
}
