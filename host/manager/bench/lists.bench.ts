import { encodeBase64url } from '@cella/bytes'
import type { SignedDocument } from '@cella/documents'
import { encodeLeaf, publishedTag } from '@cella/log'
import { randomBytes } from '@cella/primitives'
import type { Figure } from '@cella/testing'
import pg from 'pg'
import { type Database, openDatabase } from '../src/database/database.ts'
import { catalogueRows } from '../src/documents/catalogue.ts'
import { mentionsOf } from '../src/documents/mentions.ts'
import { standingOf } from '../src/documents/standing.ts'
import { contract, manifest, type Party } from '../src/testing/fixtures.ts'
import { Harness } from '../src/testing/harness.ts'

// An organisation with 10,000 assets and 10,000 past runs of 1,000 contracts, all of them signed documents in the rows that a
// submission makes. What a client waits for a list, over HTTP and with its token, against a bare select of 50 such rows.

const assetCount = 10_000
const contractCount = 1_000
const runsEach = 10
const samples = 200
const targetMs = 100

export async function bench(report: (figure: Figure) => void): Promise<void> {
  const harness = await Harness.start()
  const database = await openDatabase({ url: harness.postgres.url, dataFolder: harness.folder, connectionsMax: 2 })
  try {
    const owner = await harness.party('Owner')
    const other = await harness.party('Other')
    await fill(database, owner, other)
    const bareMs = await bareSelect(harness.postgres.url)
    const lists: [string, string][] = [
      ['assets list, newest 50', '/v1/assets?limit=50'],
      ['assets list, oldest 50', `/v1/assets?limit=50&before=${1_000_060}`],
      ['assets by name', `/v1/assets?organisation=${owner.id}&series=asset-5000`],
      ['assets search', '/v1/assets?words=asset%2077'],
      ['inbox', '/v1/inbox'],
      ['runs list, newest 50', '/v1/runs?limit=50'],
      ['runs list, oldest 50', '/v1/runs?limit=50&before=60'],
    ]
    for (const [name, path] of lists) {
      const ms = await p95(async () => {
        const { status, json } = await harness.send(owner.account, 'GET', path)
        if (status !== 200) throw new Error(`${path}: ${JSON.stringify(json)}`)
        const items = json.documents ?? json.runs
        if (items.length === 0) throw new Error(`${path}: nothing is listed`)
      })
      report({
        bench: `manager/lists: ${name}, p95 of ${samples}`,
        value: ms,
        unit: 'ms',
        against: `a bare select of 50 rows, ${bareMs.toFixed(2)} ms; and at most ${targetMs} ms`,
        ratio: ms / bareMs,
        target: Math.round(targetMs / bareMs),
        met: ms <= targetMs,
      })
    }
  } finally {
    await database.close()
    await harness.stop()
  }
}

async function fill({ tables }: Database, owner: Party, other: Party): Promise<void> {
  let index = 1_000_000
  const manifests: SignedDocument<'cella/manifest'>[] = []
  for (let n = 0; n < assetCount; n++) {
    const audience = (['everyone', 'unlisted', 'private'] as const)[n % 3]!
    manifests.push(
      await manifest(owner, n % 10 === 0 ? 'program' : 'data', {
        series: `asset-${n}`,
        title: `Asset ${n}`,
        catalogue: { audience, description: 'one of many', tags: [`tag-${n % 100}`] },
        approval: n % 2 === 0 ? 'each-contract' : 'policy-suffices',
      }),
    )
  }
  const contracts: SignedDocument<'cella/contract'>[] = []
  for (let n = 0; n < contractCount; n++) {
    const assets = { program: manifests[n * 10]!.digest, data: manifests[n * 10 + 1]!.digest }
    contracts.push(await contract(n % 2 === 0 ? owner : other, assets, { runs: runsEach }))
  }
  for (const part of chunks([...manifests, ...contracts], 500)) {
    const rows = part.map((document) => ({ document, index: index++ }))
    await tables
      .insertInto('documents')
      .values(
        rows.map(({ document, index: at }) => ({
          digest: document.digest,
          type: document.type,
          organisation: document.payload.organisation ?? document.digest,
          signer: document.payload.signer,
          envelope: document.envelope,
          salt: encodeBase64url(randomBytes(32)),
          leaf: encodeBase64url(
            encodeLeaf({ kind: 'document', commitment: randomBytes(32), tag: publishedTag(document.digest) }),
          ),
          leaf_index: at,
          ...standingOf(document),
        })),
      )
      .execute()
    const mentions = rows.flatMap(({ document: { digest, payload } }) =>
      [...mentionsOf(payload)].map((about) => ({ digest, about })),
    )
    if (mentions.length > 0) await tables.insertInto('mentions').values(mentions).execute()
    const listed = rows.flatMap(({ document: { digest, payload }, index: at }) =>
      payload.type === 'cella/manifest' ? catalogueRows(digest, payload, at) : [],
    )
    if (listed.length > 0) await tables.insertInto('catalogue').values(listed).execute()
  }
  for (const part of chunks(contracts, 100)) {
    await tables
      .insertInto('participants')
      .values(part.map(({ digest }) => ({ contract: digest, organisation: owner.id })))
      .execute()
    await tables
      .insertInto('runs')
      .values(
        part.flatMap(({ digest }) =>
          Array.from({ length: runsEach }, (_, run) => ({
            contract: digest,
            run: run + 1,
            attempt: 1,
            attempts_max: 1,
            status: 'cancelled' as const,
            phase: 'finished',
            boundary: 'vm',
            isolation: 1,
            organisation: owner.id,
          })),
        ),
      )
      .execute()
  }
}

async function bareSelect(url: string): Promise<number> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    await client.query('analyze')
    return await p95(() => client.query('select * from documents order by leaf_index desc limit 50'))
  } finally {
    await client.end()
  }
}

async function p95(call: () => Promise<unknown>): Promise<number> {
  for (let warm = 0; warm < 20; warm++) await call()
  const times: number[] = []
  for (let sample = 0; sample < samples; sample++) {
    const start = performance.now()
    await call()
    times.push(performance.now() - start)
  }
  return times.sort((a, b) => a - b)[Math.floor(samples * 0.95)]!
}

function chunks<Item>(items: readonly Item[], size: number): Item[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, at) => items.slice(at * size, (at + 1) * size))
}
