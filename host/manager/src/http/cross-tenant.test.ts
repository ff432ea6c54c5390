import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { after, before, describe, test } from 'node:test'
import { encodeBase64url } from '@cella/bytes'
import { type DocumentType, type Payload, parseDocument, type SignedDocument, signDocument } from '@cella/documents'
import { signReading } from '@cella/events'
import { digestOf, randomBytes } from '@cella/primitives'
import {
  type Account,
  bundleOf,
  contract,
  manifest,
  member,
  newAccount,
  type Party,
  receiptOf,
  revocation,
  token,
} from '../testing/fixtures.ts'
import { Harness, type Reply, readReply } from '../testing/harness.ts'

// Every object of one organisation with every credential of another, on every route that the manager has: the routes come
// from its own description, so a new one without a row here fails.

interface Call {
  readonly path: string
  readonly body?: unknown
}

interface Row {
  /** As their owner would call, over all objects that the route can name. */
  readonly calls: (theirs: Theirs) => readonly Call[]
  /** What its owner, a worker or anyone gets, so that no refusal is for a call that nobody could make. */
  readonly control: { readonly as: 'owner' | 'worker' | 'nobody'; readonly status: number }
  /** What the other organisation’s member gets; a number below 300 is an answer that tells nothing. */
  readonly member: number
  /** What those get whose credential is good for nothing but may be left away. Default 401. */
  readonly nobody?: number
  /** Whether a member is answered the same, letter for letter, for what is not there at all. */
  readonly isSilent?: boolean
}

/** The objects of the organisation that the others are after. */
interface Theirs {
  readonly id: string
  readonly data: SignedDocument<'cella/manifest'>
  readonly documents: readonly SignedDocument[]
  readonly contract: string
  /** Of a run that a worker has; the number of one that waits. */
  readonly lease: number
  readonly waiting: number
  readonly upload: string
  readonly blob: string
  readonly vault: string
  readonly webhook: number
  /** Of a worker, not sent yet. */
  readonly poll: object
  readonly forged: readonly SignedDocument[]
}

const page = { control: { as: 'owner', status: 200 }, member: 200 } as const
const own = { control: { as: 'owner', status: 200 }, member: 404, isSilent: true } as const
const worker = { control: { as: 'worker', status: 200 }, member: 403 } as const
const open = { control: { as: 'nobody', status: 200 }, member: 200, nobody: 200 } as const
const runPath = ({ contract }: Theirs, run = 1): string => `/v1/runs/${contract}/${run}`
const leasePath = ({ lease }: Theirs, call: string): string => `/v1/worker/leases/${lease}/${call}`
const salt = encodeBase64url(randomBytes(32))
const commitments = ['ab'.repeat(32)]

/** By method and path as /openapi.json has them; in the order in which they are tried. */
const rows: Record<string, Row> = {
  'get /v1/info': { ...open, calls: () => [{ path: '/v1/info' }] },
  'get /healthz': { ...open, calls: () => [{ path: '/healthz' }] },
  'get /readyz': { ...open, calls: () => [{ path: '/readyz' }] },
  'get /metrics': { ...open, calls: () => [{ path: '/metrics' }] },
  'get /openapi.json': { ...open, calls: () => [{ path: '/openapi.json' }] },
  'get /v1/log/checkpoint': { ...open, calls: () => [{ path: '/v1/log/checkpoint' }] },
  'get /v1/log/news': { ...open, calls: () => [{ path: '/v1/log/news?from=0' }] },
  'get /v1/log/tile/{*}': { ...open, calls: () => [{ path: '/v1/log/tile/entries/000.p/1' }] },
  'get /v1/log/receipt': {
    ...open,
    // A key in a file gives none.
    calls: () => [{ path: '/v1/log/receipt?index=0' }],
    control: { as: 'nobody', status: 404 },
    member: 404,
    nobody: 404,
  },
  'get /v1/log/signers': { ...open, calls: () => [{ path: '/v1/log/signers' }] },
  'post /v1/log/signer/challenge': {
    ...open,
    calls: () => [{ path: '/v1/log/signer/challenge', body: { nonce: salt } }],
    control: { as: 'nobody', status: 400 },
    member: 400,
    nobody: 400,
  },
  'get /v1/workers': { ...open, calls: () => [{ path: '/v1/workers' }] },
  'post /v1/workers/{name}/challenge': {
    ...open,
    calls: () => [{ path: '/v1/workers/none/challenge', body: { nonce: salt } }],
    control: { as: 'nobody', status: 404 },
    member: 404,
    nobody: 404,
  },
  'post /v1/documents': {
    calls: ({ data, forged }) => [
      ...forged.map(({ envelope }) => ({ path: '/v1/documents', body: { document: envelope, salt } })),
      {
        path: '/v1/documents',
        body: { document: data.envelope, salt, locations: { sealed: '12'.repeat(32), outboard: '34'.repeat(32) } },
      },
    ],
    // What others signed in its name no owner can send either; the last call moves where its own asset lies.
    control: { as: 'owner', status: 200 },
    member: 403,
    nobody: 403,
  },
  'get /v1/documents/{digest}': {
    ...own,
    calls: ({ documents }) => documents.map(({ digest }) => ({ path: `/v1/documents/${digest}` })),
    nobody: 404,
  },
  'get /v1/documents': {
    ...page,
    calls: ({ id, documents }) => [
      { path: '/v1/documents?limit=200' },
      { path: `/v1/documents?organisation=${id}&limit=200` },
      { path: `/v1/documents?about=${id}&limit=200` },
      ...[...new Set(documents.map(({ type }) => type))].map((type) => ({ path: `/v1/documents?type=${type}` })),
      ...documents.flatMap(({ digest }) => [
        { path: `/v1/documents?digest=${digest}` },
        { path: `/v1/documents?about=${digest}` },
      ]),
    ],
  },
  'get /v1/assets': {
    ...page,
    calls: ({ id, data }) => [
      { path: '/v1/assets?withdrawn=true' },
      { path: `/v1/assets?organisation=${id}` },
      { path: `/v1/assets?organisation=${id}&series=merger-plan` },
      { path: `/v1/assets?prefix=${data.digest}` },
      { path: '/v1/assets?words=merger' },
      { path: '/v1/assets?tag=merger' },
    ],
  },
  'post /v1/uploads': {
    ...page,
    control: { as: 'owner', status: 201 },
    member: 201,
    nobody: 401,
    // The same bytes begun by both are two uploads: that the owner began one, the other does not learn.
    calls: () => [{ path: '/v1/uploads', body: { size: 4, sha256: digestOf(Buffer.from('half')) } }],
  },
  'put /v1/uploads': {
    ...page,
    // The same bytes may be anyone’s: what they answer says nothing of who else has them.
    calls: () => [{ path: `/v1/uploads?sha256=${digestOf(Buffer.from('whole'))}`, body: Buffer.from('whole') }],
  },
  'get /v1/uploads/{upload}': { ...own, calls: ({ upload }) => [{ path: `/v1/uploads/${upload}` }] },
  'put /v1/uploads/{upload}': {
    ...own,
    calls: ({ upload }) => [{ path: `/v1/uploads/${upload}?offset=0`, body: Buffer.from('half') }],
  },
  'post /v1/uploads/{upload}/complete': {
    ...own,
    calls: ({ upload }) => [{ path: `/v1/uploads/${upload}/complete` }],
  },
  'post /v1/uploads/{upload}/cancel': {
    ...own,
    calls: ({ upload }) => [{ path: `/v1/uploads/${upload}/cancel` }],
  },
  // Ciphertext: receivers of other organisations fetch it, and who knows its digest was shown a document that has it.
  'get /v1/blobs/{sha256}': { ...page, calls: ({ blob }) => [{ path: `/v1/blobs/${blob}` }] },
  'post /v1/bodies': { ...worker, calls: () => [{ path: '/v1/bodies', body: Buffer.from('') }] },
  // Bodies are sealed to the organisation’s stream, and their commitments stand in the log for all to see.
  'post /v1/bodies/read': { ...page, calls: () => [{ path: '/v1/bodies/read', body: { commitments } }] },
  'post /v1/bodies/erase': { ...worker, calls: () => [{ path: '/v1/bodies/erase', body: { commitments } }] },
  'post /v1/contracts/{digest}/runs': {
    ...own,
    control: { as: 'owner', status: 201 },
    calls: ({ contract }) => [{ path: `/v1/contracts/${contract}/runs`, body: { count: 1 } }],
  },
  'get /v1/runs': {
    ...page,
    calls: ({ contract }) => [{ path: '/v1/runs' }, { path: `/v1/runs?contract=${contract}` }],
  },
  'get /v1/runs/{contract}/{run}': { ...own, calls: (theirs) => [{ path: runPath(theirs) }] },
  'get /v1/runs/{contract}/{run}/events': { ...own, calls: (theirs) => [{ path: `${runPath(theirs)}/events` }] },
  'get /v1/runs/{contract}/{run}/receipt': { ...own, calls: (theirs) => [{ path: `${runPath(theirs)}/receipt` }] },
  'get /v1/runs/{contract}/{run}/outputs': { ...own, calls: (theirs) => [{ path: `${runPath(theirs)}/outputs` }] },
  'post /v1/runs/{contract}/{run}/cancel': {
    ...own,
    calls: (theirs) => [{ path: `${runPath(theirs, theirs.waiting)}/cancel`, body: {} }],
  },
  'get /v1/inbox': { ...page, calls: () => [{ path: '/v1/inbox' }] },
  'get /v1/events': { ...page, calls: () => [{ path: '/v1/events' }] },
  'get /v1/webhooks': { ...page, calls: () => [{ path: '/v1/webhooks' }] },
  'post /v1/webhooks': {
    control: { as: 'owner', status: 200 },
    member: 403,
    isSilent: true,
    calls: ({ id }) => [{ path: '/v1/webhooks', body: { organisation: id, url: 'https://hooks.example/merger-plan' } }],
  },
  'post /v1/webhooks/{webhook}/remove': {
    ...page,
    isSilent: true,
    calls: ({ webhook }) => [{ path: `/v1/webhooks/${webhook}/remove`, body: {} }],
  },
  'post /v1/worker/poll': {
    ...worker,
    calls: ({ poll }) => [{ path: '/v1/worker/poll', body: poll }],
  },
  'post /v1/worker/leases/{lease}/renew': {
    ...worker,
    calls: (theirs) => [{ path: leasePath(theirs, 'renew'), body: { phase: 'run' } }],
  },
  'post /v1/worker/leases/{lease}/receipt': {
    ...worker,
    calls: (theirs) => [{ path: leasePath(theirs, 'receipt'), body: { draft: {} } }],
  },
  'get /v1/worker/leases/{lease}/receipts': {
    ...worker,
    calls: (theirs) => [{ path: leasePath(theirs, 'receipts') }],
  },
  'post /v1/worker/leases/{lease}/outcome': {
    ...worker,
    calls: (theirs) => [
      { path: leasePath(theirs, 'outcome'), body: { status: 'failed', error: { code: 'ERR_TEST' } } },
    ],
  },
  'post /v1/log/entries': {
    ...page,
    calls: () => [{ path: '/v1/log/entries', body: new Uint8Array(randomBytes(64)).fill(1, 0, 1) }],
    control: { as: 'owner', status: 400 },
    member: 400,
  },
  'post /v1/worker/challenges/poll': {
    ...worker,
    control: { as: 'worker', status: 204 },
    calls: () => [{ path: '/v1/worker/challenges/poll', body: { worker: 'w' } }],
  },
  'post /v1/worker/challenges/{id}': {
    ...worker,
    control: { as: 'worker', status: 404 },
    calls: () => [{ path: '/v1/worker/challenges/1', body: { answer: {} } }],
  },
  'get /v1/secrets/{organisation}/{series}/{revision}': {
    ...worker,
    calls: ({ id }) => [{ path: `/v1/secrets/${id}/merger-plan/1` }],
  },
  'get /v1/terms/{organisation}': {
    ...worker,
    calls: ({ id }) => [{ path: `/v1/terms/${id}` }],
  },
  'post /v1/joins': {
    ...worker,
    control: { as: 'worker', status: 400 },
    calls: () => [{ path: '/v1/joins', body: {} }],
  },
  // For brokers, who show their vault’s own word; queue/brokers.test.ts: nobody else polls or answers for it.
  'post /v1/broker/poll': {
    control: { as: 'owner', status: 403 },
    member: 403,
    calls: ({ vault }) => [
      {
        path: '/v1/broker/poll',
        body: {
          vault,
          instance: encodeBase64url(randomBytes(16)),
          reading: signReading(
            { log: 'log.example/test', nonce: salt, root: digestOf(randomBytes(8)), size: 1 },
            randomBytes(32),
          ),
        },
      },
    ],
  },
  'post /v1/broker/calls/{id}': {
    control: { as: 'owner', status: 403 },
    member: 403,
    calls: () => [{ path: '/v1/broker/calls/1', body: { status: 200, body: '' } }],
  },
  'post /v1/secrets/decisions': {
    ...worker,
    control: { as: 'worker', status: 400 },
    calls: () => [{ path: '/v1/secrets/decisions', body: {} }],
  },
}

/** Passed on unread: who is asked decides by what the call itself proves, and these tests are about that. */
const passedOn: Record<string, readonly [file: string, test: string]> = {
  'post /v1/vaults/{id}/{call}': [
    '../../../../enclave/vault/src/events.test.ts',
    'the stream key goes to an auditor or regulator in force alone, and each request is good once',
  ],
  'get /attest/{*}': ['../../../../enclave/attest/src/policies.test.ts', 'and nobody else’s'],
  'post /attest/{*}': ['../../../../enclave/attest/src/policies.test.ts', 'and nobody else’s'],
  'put /attest/{*}': ['../../../../enclave/attest/src/policies.test.ts', 'and nobody else’s'],
  ...Object.fromEntries(
    ['/kbs/v0', '/v1/vaults/{id}/kbs/v0'].flatMap((at) =>
      ['post auth', 'post attest', 'get resource/{organisation}/{series}/{revision}'].map((call) => {
        const [method, path] = call.split(' ') as [string, string]
        const test = 'sessions: a nonce is good once, in its own session, for five minutes'
        return [`${method} ${at}/${path}`, ['../../../../enclave/vault/src/kbs/front.test.ts', test] as const]
      }),
    ),
  ),
}

type Credential = (call: { method: string; path: string; body: Uint8Array }) => string | undefined

describe('another organisation', () => {
  let harness: Harness
  let owner: Party
  let other: Party
  let theirs: Theirs
  let markers: string[]
  let credentials: Record<'member' | 'nobody' | 'forged', Record<string, Credential>>

  before(async () => {
    const attest = { url: 'http://127.0.0.1:9' }
    harness = await Harness.start(
      {
        attest,
        limits: { documentsPerMinute: 10_000, pollSeconds: 0.1, leaseSeconds: 3600 },
      },
      { workers: true },
    )
    owner = await harness.party('Owner')
    other = await harness.party('Other')
    theirs = await makeTheirs()
    markers = [
      ...theirs.documents.map(({ digest }) => digest),
      ...[theirs.upload, theirs.blob, 'merger', digestOf(Buffer.from('half'))],
    ]
    credentials = await makeCredentials()
  })
  after(() => harness.stop())

  const as =
    (account: Account): Credential =>
    (call) =>
      token(account, call)

  async function makeCredentials(): Promise<typeof credentials> {
    const [former, late] = [newAccount(), newAccount()]
    const left = await member(other.id, other.root, former)
    for (const document of [left, await member(other.id, other.root, late, { notAfter: 1_000_000_000 })]) {
      await harness.mustSubmit(document)
    }
    await harness.mustSubmit(await revocation(other, left.digest))
    const used = token(owner.account, { method: 'GET', path: '/v1/runs' })
    assert.equal((await call('get', { path: '/v1/runs' }, () => used)).status, 200)
    return {
      member: { 'a member': as(other.account) },
      nobody: {
        nobody: () => undefined,
        'a member who was removed': as(former),
        'a member whose time is over': as(late),
        'its root key': as(other.root),
      },
      forged: {
        'a member who signs as one of the owner’s': (asked) => token(owner.account, asked, { signedBy: other.account }),
        'who saw a token of the owner’s': () => used,
        'who saw a token of the owner’s for another call': () =>
          token(owner.account, { method: 'GET', path: '/v1/nothing' }),
      },
    }
  }

  /** As the owner has them: all private, a run that has ended, one that a worker has, one that waits, half an upload. */
  async function makeTheirs(): Promise<Theirs> {
    const catalogue = { audience: 'private' as const, description: 'merger', tags: ['merger'] }
    const data = await manifest(owner, 'data', { series: 'merger-plan', title: 'merger-plan', catalogue })
    const program = await manifest(owner, 'program', { series: 'merger-model', title: 'merger-model', catalogue })
    const draft = await manifest(owner, 'data', { series: 'merger-draft', title: 'merger-draft', catalogue })
    const made = await contract(owner, { program: program.digest, data: data.digest }, { name: 'merger', runs: 9 })
    const sign = <Type extends DocumentType>(
      type: Type,
      rest: Omit<Payload<Type>, 'type' | 'version' | 'organisation' | 'signer'>,
      [account, organisation] = [owner.account, owner.id],
    ): Promise<SignedDocument<Type>> =>
      signDocument<Type>({ type, version: 1, organisation, signer: account.id, ...rest } as unknown as Payload<Type>, [
        account.seed,
      ])
    const window = { notBefore: 0, notAfter: 4_000_000_000 }
    const approving = { contract: made.digest, runs: 1, ...window }
    const request = await sign('cella/request', {
      ...{ contract: made.digest, to: owner.id, by: 4_000_000_000, message: 'merger', previous: null },
    })
    const documents = [
      ...[data, program, draft, made, request],
      await sign('cella/grant', {
        ...{ manifest: data.digest, kek: data.digest, vault: newAccount().id, vaultEvidence: data.digest },
        ...{ runs: null, log: 'log.example/test', wrapped: 'AAAA' },
      }),
      await sign('cella/key-copy', {
        ...{ manifest: data.digest, membership: owner.membership.digest, wrapped: 'AAAA' },
      }),
      await sign('cella/approval', approving),
      await sign('cella/response', { request: request.digest, answer: 'declined', account: null, message: 'merger' }),
      await revocation(owner, draft.digest),
    ]
    for (const document of documents) {
      const locations = { sealed: 'aa'.repeat(32), outboard: 'bb'.repeat(32) }
      await harness.mustSubmit(document, document.type === 'cella/manifest' ? locations : undefined)
    }
    const send = async (from: Account | 'worker', method: string, path: string, body?: unknown) => {
      const reply = await harness.send(from, method, path, body)
      assert.ok(reply.status < 300, `${path}: ${reply.bytes}`)
      return reply.json
    }
    const runs = `/v1/contracts/${made.digest}/runs`
    const polling = await harness.worker('w')
    await send(owner.account, 'POST', runs, { count: 1 })
    const { json: first } = await polling.poll()
    const bundle = bundleOf(await receiptOf(made.digest, 1, 1), 7)
    const outputs = [{ name: 'gap.csv', blob: 'cc'.repeat(32), outboard: 'dd'.repeat(32), keys: [] }]
    await send('worker', 'POST', `/v1/worker/leases/${first.lease}/outcome`, { status: 'finished', bundle, outputs })
    await send(owner.account, 'POST', runs, { count: 2 })
    const { lease, run } = (await polling.poll()).json
    // An offer alone is taken back soon.
    await send('worker', 'POST', `/v1/worker/leases/${lease}/renew`, { phase: 'decide' })
    const blob = Buffer.from('ciphertext')
    const upload = async (bytes: Buffer): Promise<string> => {
      const asked = { size: bytes.length, sha256: digestOf(bytes) }
      return (await send(owner.account, 'POST', '/v1/uploads', asked)).upload
    }
    const whole = await upload(blob)
    await send(owner.account, 'PUT', `/v1/uploads/${whole}?offset=0`, blob)
    await send(owner.account, 'POST', `/v1/uploads/${whole}/complete`)
    const asked = { organisation: owner.id, url: 'https://hooks.example/merger' }
    const webhook = await send(owner.account, 'POST', '/v1/webhooks', asked)
    const inTheirName = [other.account, owner.id] as [Account, typeof owner.id]
    const forged = [
      await sign('cella/approval', approving, inTheirName),
      await manifest({ ...owner, account: other.account }, 'data'),
      await member(owner.id, other.root, newAccount()),
      await revocation({ ...owner, root: other.root }, data.digest),
      await revocation(other, data.digest),
    ]
    return {
      ...{ id: owner.id, data, documents, contract: made.digest, lease, waiting: run === 2 ? 3 : 2, forged },
      ...{
        upload: await upload(Buffer.from('half')),
        blob: digestOf(blob),
        webhook: webhook.id,
        poll: polling.nextPoll(),
        vault: newAccount().id,
      },
    }
  }

  async function call(method: string, { path, body }: Call, credential: Credential): Promise<Reply> {
    const isBytes = body instanceof Uint8Array
    const bytes = body === undefined ? new Uint8Array() : isBytes ? body : Buffer.from(JSON.stringify(body))
    const authorization = credential({ method: method.toUpperCase(), path, body: bytes })
    const answer = await fetch(harness.url + path, {
      method,
      headers: {
        ...(body !== undefined && { 'content-type': isBytes ? 'application/octet-stream' : 'application/json' }),
        ...(authorization && { authorization }),
      },
      ...(body !== undefined && { body: new Uint8Array(bytes) }),
    })
    if (answer.status !== 200 || answer.headers.get('content-type') !== 'text/event-stream') return readReply(answer)
    // A stream without an end: what comes at once is all that it has to tell.
    const reader = answer.body!.getReader()
    const parts: Uint8Array[] = []
    const late = setTimeout(() => void reader.cancel(), 150)
    for (let part = await reader.read(); !part.done; part = await reader.read()) parts.push(part.value)
    clearTimeout(late)
    return { status: 200, headers: answer.headers, bytes: Buffer.concat(parts), json: undefined }
  }

  /** What an answer says, the documents in it opened. */
  function said({ bytes, json }: Reply): string {
    const documents = [...(json?.documents ?? []), ...(json?.document ? [json] : [])] as { document: string }[]
    return bytes.toString() + documents.map(({ document }) => JSON.stringify(parseDocument(document).payload)).join()
  }

  function tellsNothing(reply: Reply, asked: Call, what: string): void {
    const text = said(reply)
    const sent = (asked.body as { document?: string } | undefined)?.document
    const named = JSON.stringify(asked) + (sent === undefined ? '' : JSON.stringify(parseDocument(sent).payload))
    for (const marker of markers) {
      // An answer may repeat what was asked, and no more; a blob is its own digest’s.
      assert.ok(!text.includes(marker) || named.includes(marker), `${what} tells of ${marker}: ${text.slice(0, 300)}`)
    }
  }

  /** The same call about something that nobody ever made. */
  function ofNothing({ path, body }: Call): Call {
    const changed = (text: string): string => {
      const names = [...markers, theirs.id].filter((marker) => /^[0-9a-f]{32,}$/.test(marker))
      const replaced = names.reduce(
        (all, name) => all.replaceAll(name, digestOf(Buffer.from(name)).slice(0, name.length)),
        text,
      )
      return replaced.replace(`/webhooks/${theirs.webhook}/`, '/webhooks/4711/')
    }
    const isBytes = body instanceof Uint8Array
    return {
      path: changed(path),
      ...(body !== undefined && { body: isBytes ? body : JSON.parse(changed(JSON.stringify(body))) }),
    }
  }
  const anonymous = (reply: Reply, asked: Call): string => {
    const names = [...JSON.stringify(asked).matchAll(/[0-9a-f]{32,64}/g)].map(([name]) => name)
    return names.reduce((all, name) => all.replaceAll(name, '…'), `${reply.status} ${reply.bytes}`)
  }

  test('has a row for each call that the manager describes, and no row for another', async () => {
    const { json } = await harness.send('nobody', 'GET', '/openapi.json')
    const described = Object.entries<object>(json.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method} ${path}`),
    )
    assert.ok(described.length > 45, `${described.length} calls`)
    assert.deepEqual([...Object.keys(rows), ...Object.keys(passedOn)].sort(), described.sort())
    for (const [file, name] of Object.values(passedOn)) {
      assert.ok(readFileSync(new URL(file, import.meta.url), 'utf8').includes(name), `${file}: ${name}`)
    }
  })

  for (const [route, row] of Object.entries(rows)) {
    const method = route.split(' ')[0]!
    test(`gets nothing by ${route}`, async () => {
      for (const asked of row.calls(theirs)) {
        for (const [kind, status] of [
          ['member', row.member],
          ['nobody', row.nobody ?? 401],
          ['forged', row.nobody === undefined || row.nobody === 403 ? 401 : undefined],
        ] as const) {
          for (const [name, credential] of Object.entries(credentials[kind])) {
            const reply = await call(method, asked, credential)
            const what = `${name}: ${method} ${asked.path}`
            if (status === undefined) assert.ok([401, row.nobody].includes(reply.status), `${what}: ${reply.status}`)
            else assert.equal(reply.status, status, `${what}: ${reply.bytes}`)
            tellsNothing(reply, asked, what)
          }
        }
        if (row.isSilent !== true) continue
        const nothing = ofNothing(asked)
        const [about, without] = [
          await call(method, asked, as(other.account)),
          await call(method, nothing, as(other.account)),
        ]
        assert.equal(anonymous(about, asked), anonymous(without, nothing), asked.path)
      }
    })
  }

  test('its owner, or the worker, gets what it asks for by every one of these calls, after all that', async () => {
    for (const [route, { calls, control }] of Object.entries(rows)) {
      const method = route.split(' ')[0]!
      const asked = calls(theirs).at(-1)!
      const bearer = `Bearer ${harness.config.workerToken}`
      const credential =
        control.as === 'owner' ? as(owner.account) : control.as === 'worker' ? () => bearer : () => undefined
      const reply = await call(method, asked, credential)
      assert.equal(reply.status, control.status, `${route}: ${reply.bytes}`)
    }
  })
})
