import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { isType, type Payload, parseDocument, type SignedDocument, signDocument } from '@cella/documents'
import type { KyselyPlugin } from 'kysely'
import pg from 'pg'
import { type Database, openDatabase } from '../database/database.ts'
import { bearingOn } from '../documents/bearing.ts'
import { listAssets } from '../documents/catalogue.ts'
import { listDocuments } from '../documents/store.ts'
import { type Account, contract, manifest, newAccount, type Party, revocation } from '../testing/fixtures.ts'
import { Harness } from '../testing/harness.ts'

type Catalogue = NonNullable<Payload<'cella/manifest'>['catalogue']>

describe('the catalogue', () => {
  let harness: Harness
  let owner: Party
  let partner: Party
  let stranger: Party

  before(async () => {
    harness = await Harness.start()
    owner = await harness.party('Owner')
    partner = await harness.party('Partner')
    stranger = await harness.party('Stranger')
  })
  after(() => harness.stop())

  const publish = async (
    series: string,
    audience: Catalogue['audience'] | undefined,
    more: Partial<Catalogue & { kind: 'data' | 'program' }> = {},
  ): Promise<SignedDocument<'cella/manifest'>> => {
    const { kind = 'data', ...catalogue } = more
    const made = await manifest(owner, kind, {
      series,
      title: series,
      ...(audience !== undefined && { catalogue: { audience, description: '', tags: [], ...catalogue } }),
    })
    await harness.mustSubmit(made, { sealed: 'aa'.repeat(32), outboard: 'bb'.repeat(32) })
    return made
  }
  const list = async (as: Account, query = ''): Promise<string[]> => {
    const { status, json } = await harness.send(as, 'GET', `/v1/assets?${query}`)
    assert.equal(status, 200, JSON.stringify(json))
    return json.documents.map(({ document }: { document: string }) => {
      const parsed = parseDocument(document)
      assert.ok(isType(parsed, 'cella/manifest'))
      return parsed.payload.series
    })
  }

  test('shows an asset to whom it is for, by list, name and digest', async () => {
    const open = await publish('open', undefined)
    const shared = await publish('shared', [partner.id])
    const unlisted = await publish('unlisted', 'unlisted')
    const secret = await publish('private', 'private')
    const at = `organisation=${owner.id}`
    assert.deepEqual(await list(owner.account, at), ['private', 'unlisted', 'shared', 'open'])
    assert.deepEqual(await list(partner.account, at), ['shared', 'open'])
    assert.deepEqual(await list(stranger.account, at), ['open'])
    assert.deepEqual(await list(stranger.account, `${at}&series=unlisted`), ['unlisted'])
    assert.deepEqual(await list(stranger.account, `prefix=${unlisted.digest}`), ['unlisted'])
    assert.deepEqual(await list(stranger.account, `prefix=${unlisted.digest.slice(0, 63)}`), [])
    for (const query of [`${at}&series=private`, `prefix=${secret.digest}`, `${at}&series=shared`, 'words=priv']) {
      assert.deepEqual(await list(stranger.account, query), [])
    }
    const one = async (as: Account | 'nobody' | 'worker', { digest }: SignedDocument) =>
      (await harness.send(as, 'GET', `/v1/documents/${digest}`)).status
    for (const as of [owner.account, partner.account, stranger.account, 'nobody', 'worker'] as const) {
      assert.equal(await one(as, open), 200)
      assert.equal(await one(as, unlisted), 200)
      assert.equal(await one(as, shared), as === owner.account || as === partner.account || as === 'worker' ? 200 : 404)
      assert.equal(await one(as, secret), as === owner.account || as === 'worker' ? 200 : 404)
    }
  })

  test('finds by the beginnings of words, tag and kind, and lists what was withdrawn when asked', async () => {
    const more = { description: 'Left ventricle, ECG of 2026', tags: ['heart'] }
    const found = await publish('cardio.study', 'everyone', more)
    await publish('walk', 'everyone', { kind: 'program' })
    for (const query of ['words=ventr', 'words=ECG%20car', 'words=study', 'tag=heart', 'words=heart%27)%3A*']) {
      assert.deepEqual(await list(stranger.account, query), ['cardio.study'], query)
    }
    for (const query of ['words=lung', 'words=%26%7C!', 'tag=hear', 'words=heart%20lung']) {
      assert.deepEqual(await list(stranger.account, query), [], query)
    }
    assert.deepEqual(await list(stranger.account, `kind=program&organisation=${owner.id}`), ['walk'])
    await harness.mustSubmit(await revocation(owner, found.digest))
    assert.deepEqual(await list(stranger.account, 'tag=heart'), [])
    assert.deepEqual(await list(stranger.account, 'tag=heart&withdrawn=true'), ['cardio.study'])
  })

  test('is read page by page, newest first, each asset once', async () => {
    for (let n = 0; n < 5; n++) await publish(`paged-${n}`, n % 2 === 0 ? 'everyone' : 'private', { tags: ['paged'] })
    const seen: string[] = []
    let next: number | undefined
    do {
      const before = next === undefined ? '' : `&before=${next}`
      const { json } = await harness.send(owner.account, 'GET', `/v1/assets?tag=paged&limit=2${before}`)
      assert.ok(json.documents.length <= 2)
      for (const { document } of json.documents)
        seen.push((parseDocument(document).payload as { series: string }).series)
      next = json.next
    } while (next !== undefined)
    assert.deepEqual(
      seen,
      [4, 3, 2, 1, 0].map((n) => `paged-${n}`),
    )
  })

  test('what tells of a private asset is shown to nobody else, on no route', async () => {
    const data = await publish('merger-plan', 'private')
    const program = await publish('merger-model', 'private', { kind: 'program' })
    const grant = await signDocument<'cella/grant'>(
      {
        type: 'cella/grant',
        version: 1,
        organisation: owner.id,
        signer: owner.account.id,
        manifest: data.digest,
        kek: 'ab'.repeat(32) as SignedDocument['digest'],
        vault: newAccount().id,
        vaultEvidence: 'cd'.repeat(32) as SignedDocument['digest'],
        runs: null,
        log: 'log.example/test',
        wrapped: 'AAAA',
      },
      [owner.account.seed],
    )
    const made = await contract(owner, { program: program.digest, data: data.digest }, { name: 'merger' })
    const { steps, outputs } = made.payload
    const { program: _, inputs: __, ...step } = steps[0]!
    const workflow = await signDocument<'cella/workflow'>(
      {
        type: 'cella/workflow',
        version: 1,
        organisation: owner.id,
        signer: owner.account.id,
        name: 'merger',
        purpose: 'test',
        steps: [
          {
            ...step,
            program: { organisation: owner.id, series: 'merger-model' },
            inputs: [{ name: 'plan', organisation: owner.id, series: 'merger-plan' }],
          },
        ],
        outputs: outputs.map(({ name, step: id, declared, rules }) => {
          return { name, step: id, declared, rules, receivers: [{ organisation: owner.id, role: 'receiver' as const }] }
        }),
      },
      [owner.account.seed],
    )
    const withdrawn = await publish('merger-draft', 'private')
    const documents = [grant, made, workflow, await revocation(owner, withdrawn.digest)]
    for (const document of documents) await harness.mustSubmit(document)
    const { json: queued } = await harness.send(owner.account, 'POST', `/v1/contracts/${made.digest}/runs`, {})
    assert.equal(queued.runs?.length, 1, JSON.stringify(queued))

    const hidden = [data, program, ...documents]
    const routes = [
      '/v1/assets?withdrawn=true&limit=200',
      `/v1/assets?organisation=${owner.id}&series=merger-plan`,
      '/v1/assets?words=merger',
      '/v1/inbox',
      '/v1/runs',
      `/v1/runs/${made.digest}/1`,
      `/v1/runs/${made.digest}/1/receipt`,
      `/v1/documents?organisation=${owner.id}&limit=200`,
      `/v1/documents?organisation=${owner.id}&organisation=${partner.id}&limit=200`,
      '/v1/documents?limit=200',
      ...['manifest', 'grant', 'contract', 'workflow', 'revocation'].map((type) => `/v1/documents?type=cella/${type}`),
      `/v1/documents?about=${owner.membership.digest}`,
      `/v1/documents?about=${owner.id}`,
      ...hidden.flatMap(({ digest }) => [
        `/v1/documents/${digest}`,
        `/v1/documents?digest=${digest}`,
        `/v1/documents?about=${digest}`,
        `/v1/assets?prefix=${digest}`,
      ]),
    ]
    for (const as of [partner.account, stranger.account, 'nobody'] as const) {
      for (const route of routes) {
        const answer = await harness.send(as, 'GET', route)
        const text = answer.bytes.toString()
        const inside = (answer.json?.documents ?? []).map(({ document }: { document: string }) =>
          parseDocument(document),
        )
        const shown = JSON.stringify(inside.map(({ payload }: SignedDocument) => payload))
        assert.ok(!/merger/.test(text + shown), `${route}: ${shown}`)
        for (const { digest } of hidden) {
          assert.ok(!shown.includes(digest), `${route} tells of ${digest}`)
          // An answer may repeat what was asked, and no more.
          assert.ok(route.includes(digest) || !text.includes(digest), `${route} tells of ${digest}`)
        }
      }
    }
    const shownToOwner = `/v1/documents?organisation=${owner.id}&type=cella/contract&limit=200`
    const own = await harness.send(owner.account, 'GET', shownToOwner)
    assert.ok(own.json.documents.some(({ digest }: { digest: string }) => digest === made.digest))
  })

  test('a refusal is the same for a private asset and for one that is not there', async () => {
    const secret = await publish('refused', 'private')
    const program = await publish('refused-program', 'everyone', { kind: 'program' })
    const ask = async (data: SignedDocument['digest']) => {
      const made = await contract(stranger, { program: program.digest, data })
      await harness.mustSubmit(made)
      const answer = await harness.send(stranger.account, 'POST', `/v1/contracts/${made.digest}/runs`, {})
      return { status: answer.status, text: answer.bytes.toString().replaceAll(data, 'DIGEST') }
    }
    const nothing = '12'.repeat(32) as SignedDocument['digest']
    assert.deepEqual(await ask(secret.digest), await ask(nothing))
    assert.equal((await ask(nothing)).status, 403)
    const [there, not] = await Promise.all(
      [secret.digest, nothing].map(async (digest) => {
        const answer = await harness.send(stranger.account, 'GET', `/v1/documents/${digest}`)
        return answer.bytes.toString().replaceAll(digest, 'DIGEST')
      }),
    )
    assert.equal(there, not)
  })

  test('whoever the owner names in a contract sees what it is about', async () => {
    const data = await publish('joint', 'private')
    const program = await publish('joint-model', 'private', { kind: 'program' })
    const receivers = [{ organisation: partner.id, role: 'receiver' as const, membership: partner.membership.digest }]
    const made = await contract(owner, { program: program.digest, data: data.digest }, {})
    const [output] = made.payload.outputs
    const joint = await contract(
      owner,
      { program: program.digest, data: data.digest },
      { outputs: [{ ...output!, receivers }] },
    )
    assert.equal((await harness.send(partner.account, 'GET', `/v1/documents/${data.digest}`)).status, 404)
    await harness.mustSubmit(joint)
    for (const { digest } of [data, program, joint]) {
      assert.equal((await harness.send(partner.account, 'GET', `/v1/documents/${digest}`)).status, 200)
      assert.equal((await harness.send(stranger.account, 'GET', `/v1/documents/${digest}`)).status, 404)
    }
    // A contract of one’s own opens nothing, whomever it names.
    const forged = await contract(stranger, { program: program.digest, data: data.digest })
    await harness.mustSubmit(forged)
    assert.equal((await harness.send(stranger.account, 'GET', `/v1/documents/${data.digest}`)).status, 404)
  })

  test('a withdrawal is of one’s own', async () => {
    const open = await publish('theirs', 'everyone')
    const secret = await publish('theirs-private', 'private')
    for (const digest of [open.digest, secret.digest, '34'.repeat(32) as SignedDocument['digest']]) {
      const answer = await harness.submit(await revocation(stranger, digest))
      assert.equal(answer.status, 403)
      assert.equal(answer.json.error.code, 'ERR_NOT_ALLOWED')
      assert.match(answer.json.error.message, /has no document/)
    }
    assert.deepEqual(await list(stranger.account, `organisation=${owner.id}&series=theirs`), ['theirs'])
  })

  describe('tells nothing by its time', () => {
    let database: Database
    let client: pg.Client

    before(async () => {
      const { url } = harness.postgres
      database = await openDatabase({ url, dataFolder: harness.folder, connectionsMax: 2 })
      client = new pg.Client({ connectionString: url })
      await client.connect()
      // So few rows are read whole otherwise; with many, by the index that is asked about here.
      await client.query('set enable_seqscan = off; analyze')
    })
    after(async () => {
      await client.end()
      await database.close()
    })

    type Tables = Database['tables']
    /** The statements of a call, and how many rows of which table each of them looked at. */
    async function work(call: (tables: Tables) => Promise<unknown>): Promise<unknown[]> {
      const compiled: { sql: string; parameters: readonly unknown[] }[] = []
      const recorder: KyselyPlugin = {
        transformQuery({ node, queryId }) {
          const { sql, parameters } = database.tables.getExecutor().compileQuery(node, queryId)
          compiled.push({ sql, parameters })
          return node
        },
        transformResult: async ({ result }) => result,
      }
      await call(database.tables.withPlugin(recorder)).catch((error: { code?: string }) => {
        assert.equal(error.code, 'ERR_NOT_FOUND', String(error))
      })
      const done: unknown[] = []
      for (const { sql, parameters } of compiled) {
        const explained = await client.query(`explain (analyze, costs off, timing off, format json) ${sql}`, [
          ...parameters,
        ])
        done.push({ sql, rows: rowsOf(explained.rows[0]['QUERY PLAN'][0].Plan) })
      }
      assert.ok(done.length > 0)
      return done
    }

    interface Plan {
      readonly [name: string]: unknown
      readonly Plans?: readonly Plan[]
    }
    /** By table, the rows that were looked at, those passed over too. */
    function rowsOf(plan: Plan): Record<string, number> {
      const rows: Record<string, number> = {}
      const add = (table: string, count: number): void => {
        rows[table] = (rows[table] ?? 0) + count
      }
      const table = plan['Relation Name']
      if (typeof table === 'string') {
        const passedOver =
          Number(plan['Rows Removed by Filter'] ?? 0) + Number(plan['Rows Removed by Index Recheck'] ?? 0)
        add(table, (Number(plan['Actual Rows']) + passedOver) * Number(plan['Actual Loops']))
      }
      for (const child of plan.Plans ?? []) for (const [name, count] of Object.entries(rowsOf(child))) add(name, count)
      return rows
    }

    test('a name, tag, word or beginning of a digest of a private asset looks at no more than one of nothing', async () => {
      const tags = ['hidden-tag']
      const made: SignedDocument<'cella/manifest'>[] = []
      for (let n = 0; n < 20; n++) made.push(await publish('hidden-name', 'private', { tags }))
      const common = { withdrawn: true, limit: 50 }
      const asked = (listing: Partial<Parameters<typeof listAssets>[2]>) =>
        work((tables) => listAssets(tables, [stranger.id], { ...common, ...listing }))
      const here = { organisations: [owner.id] }
      assert.deepEqual(
        await asked({ ...here, series: 'hidden-name' }),
        await asked({ ...here, series: 'no-such-name' }),
      )
      assert.deepEqual(await asked({ tag: 'hidden-tag' }), await asked({ tag: 'no-such-tag' }))
      assert.deepEqual(await asked({ words: 'hidden' }), await asked({ words: 'nothing' }))
      for (const length of [12, 64]) {
        const [prefix, other] = [made[0]!.digest.slice(0, length), '12'.repeat(32).slice(0, length)]
        assert.deepEqual(await asked({ prefix }), await asked({ prefix: other }))
      }
      // That it would be noticed: the owner’s own question looks at its own rows.
      const own = await work((tables) => listAssets(tables, [owner.id], { ...common, ...here, series: 'hidden-name' }))
      assert.notDeepEqual(own, await asked({ ...here, series: 'hidden-name' }))
    })

    test('lists take as long with many private assets as with none', async () => {
      const lists = () =>
        Promise.all([
          work((tables) => listAssets(tables, [stranger.id], { withdrawn: false, limit: 50 })),
          ...(['cella/manifest', 'cella/grant', 'cella/contract'] as const).map((type) =>
            work((tables) =>
              listDocuments(tables, { for: [stranger.id], organisations: [owner.id], types: [type], limit: 50 }),
            ),
          ),
        ])
      const before = await lists()
      for (let n = 0; n < 20; n++) await publish(`more-${n}`, 'private')
      assert.deepEqual(await lists(), before)
    })

    test('a contract that is not shown ends where one that is not there does', async () => {
      const data = await publish('timed', 'private')
      const program = await publish('timed-model', 'private', { kind: 'program' })
      const made = await contract(owner, { program: program.digest, data: data.digest })
      await harness.mustSubmit(made)
      const statements = async (digest: string): Promise<number> =>
        (await work((tables) => bearingOn(tables, digest, [stranger.id]))).length
      assert.equal(await statements(made.digest), 1)
      assert.equal(await statements('12'.repeat(32)), 1)
      assert.ok((await work((tables) => bearingOn(tables, made.digest, [owner.id]))).length > 1)
    })
  })
})
