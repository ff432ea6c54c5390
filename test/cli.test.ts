import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { encodeUtf8, Secret } from '@cella/bytes'
import { unfinishedReleases, valuesOf, verifyDisclosure, verifyStreamExport } from '@cella/events'
import type { KeyId } from '@cella/primitives'
import {
  discloseEntry,
  eraseEntries,
  exportStream,
  fetchStreamKey,
  keysOf,
  openHome,
  openProfileKeystore,
  openSession,
  readStream,
  type Session,
} from '@cella/sdk'
import { commandLine } from '@cella/testing'
import { Collector, type ReceivedSpan } from './support/collector.ts'
import { freePort } from './support/installation.ts'

// Three organisations go from nothing to a verified result by commands alone, as separate processes on a real server.

const root = fileURLToPath(new URL('..', import.meta.url))
const program = join(root, 'examples/programs/pay-gap/pay-gap.wasm')

interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

let folder: string
let home: string
let collector: Collector
const path = (name: string): string => join(folder, name)
const installation = (): string => path('server/installation.json')

/** Runs one command as its own process, the passphrase on descriptor 3. */
async function cella(
  profile: string,
  args: readonly string[],
  more: { env?: NodeJS.ProcessEnv; interruptAt?: string; interruptWhen?: () => boolean } = {},
): Promise<Ended> {
  const child: ChildProcess = spawn(
    process.execPath,
    [commandLine, '--home', home, '--profile', profile, '--passphrase-fd', '3', '--yes', ...args],
    {
      stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
      env: { ...process.env, OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, ...more.env },
    },
  )
  const passphrase = child.stdio[3] as NodeJS.WritableStream
  // Commands that need no passphrase end without reading it.
  passphrase.on('error', () => undefined)
  passphrase.end('correct horse battery staple\n')
  const read = async (stream: NodeJS.ReadableStream): Promise<string> => {
    let text = ''
    let isInterrupted = more.interruptAt === undefined
    for await (const part of stream) {
      text += part
      // Once: a second signal could reach it on its way out, when nobody listens any more.
      if (!isInterrupted && text.includes(more.interruptAt!)) isInterrupted = child.kill('SIGINT')
    }
    return text
  }
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve))
  const { interruptWhen } = more
  if (interruptWhen !== undefined) {
    const looking = setInterval(() => {
      if (!interruptWhen()) return
      clearInterval(looking)
      child.kill('SIGINT')
    }, 10)
    child.once('close', () => clearInterval(looking))
  }
  const [stdout, stderr, code] = await Promise.all([read(child.stdout!), read(child.stderr!), ended])
  return { code, stdout, stderr }
}

/** What the command line has when it runs for a profile, in this process. */
async function sessionOf(profile: string): Promise<Session> {
  const own = await openHome({ folder: home, profile })
  const keystore = await openProfileKeystore(own, new Secret(encodeUtf8('correct horse battery staple')))
  return openSession({ home: own, unlock: () => keysOf(keystore) })
}

/** The JSON of a command that must succeed. */
async function done<Value>(profile: string, args: readonly string[]): Promise<Value> {
  const { code, stdout, stderr } = await cella(profile, ['--json', ...args])
  assert.equal(code, 0, `cella ${args.join(' ')}: ${stderr}${stdout}`)
  return JSON.parse(stdout) as Value
}

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cella-cli-'))
  home = join(folder, 'home')
  collector = await Collector.start()
  const rows = Array.from(
    { length: 40 },
    (_, index) => `Person ${index},${index % 3 === 0 ? 'female' : 'male'},${10 + (index % 7)}.5`,
  )
  await writeFile(path('large.csv'), `name,sex,wage\n${rows.join('\n')}\n`)
  // Two women: their group is too small to speak of.
  const few = Array.from({ length: 12 }, (_, index) => `Worker ${index},${index < 2 ? 'female' : 'male'},${8 + index}`)
  await writeFile(path('small.csv'), `name,sex,wage\n${few.join('\n')}\n`)
  await writeFile(
    path('result.json'),
    JSON.stringify({
      format: 'table',
      columns: [
        { name: 'source', type: 'text', role: 'group' },
        { name: 'sex', type: 'text', role: 'group' },
        { name: 'n', type: 'integer', role: 'count' },
        { name: 'mean', type: 'number', role: 'value' },
        { name: 'median', type: 'number', role: 'value' },
      ],
    }),
  )
  await writeFile(
    path('pay-gap.yaml'),
    `name: pay-gap
purpose: equal pay report
program: University/pay-gap
arguments: [--input, large, --input, small, --value, wage, --group, sex]
inputs:
  - { name: large, asset: Large/payroll }
  - { name: small, asset: Small/payroll }
outputs:
  - { name: result, receivers: ["Office:receiver"] }
diagnostics: ["Office:receiver"]
simulated: true
runs: 5
days: 30
`,
  )
  const up = await cella('large', ['up', '--data', path('server'), '--port', String(await freePort())])
  assert.equal(up.code, 0, up.stderr)
})

after(async () => {
  await cella('large', ['down', '--data', path('server')])
  collector.stop()
  await rm(folder, { recursive: true, force: true })
})

const names = { large: 'Large', small: 'Small', university: 'University', office: 'Office' }

test('from nothing to a verified result by commands alone', async (context) => {
  const ids: Record<string, string> = {}
  await context.test('each organisation is founded under keys of its own and publishes terms', async () => {
    for (const [profile, name] of Object.entries(names)) {
      const made = await done<{ organisation: string }>(profile, [
        'org',
        'create',
        name,
        '--member',
        `${name} member`,
        '--installation',
        installation(),
      ])
      ids[profile] = made.organisation
      await done(profile, ['org', 'terms', '--installation', installation(), '--allow-simulated'])
    }
    const trust = {
      large: ['university', 'small', 'office'],
      small: ['university'],
      office: ['large', 'small', 'university'],
    }
    for (const [profile, others] of Object.entries(trust)) {
      for (const other of others) {
        await done(profile, ['org', 'trust', ids[other]!, '--name', names[other as keyof typeof names]])
      }
    }
  })

  await context.test('terms that were not told to accept a simulated TEE are refused', async () => {
    const refused = await cella('office', ['org', 'terms', '--installation', installation()])
    assert.equal(refused.code, 1)
    assert.match(refused.stderr, /^error: .*simulates its TEE.*ERR_REFUSED\)\nhint: /)
  })

  await context.test('program and tables are published under policies shown in plain words', async () => {
    await done('university', [
      'publish',
      program,
      '--kind',
      'program',
      '--as',
      'pay-gap',
      '--title',
      'Pay gap',
      '--output',
      `result=${path('result.json')}`,
      '--program',
      'any',
      '--receiver',
      'any',
      '--allow-simulated',
      '--approval',
      'policy-suffices',
    ])
    for (const profile of ['large', 'small']) {
      const published = await cella(profile, [
        'publish',
        path(`${profile}.csv`),
        '--as',
        'payroll',
        '--title',
        `Payroll of ${profile}`,
        '--program',
        'University/pay-gap',
        '--receiver',
        'receiver',
        '--allow-simulated',
        '--treat',
        'name=drop',
        '--treat',
        'sex=pass',
        '--treat',
        'wage=pass',
        '--min-group',
        '5',
        '--runs',
        '2',
        '--days',
        '30',
      ])
      assert.equal(published.code, 0, published.stderr)
      assert.match(published.stderr, /Only the program Pay gap of University \([0-9a-f]+…\) may compute on it\./)
    }
    const { assets } = await done<{ assets: { series: string }[] }>('office', ['assets', 'list'])
    assert.deepEqual(assets.map(({ series }) => series).sort(), ['pay-gap', 'payroll', 'payroll'])
  })

  await context.test(
    'a publish that is interrupted leaves nothing: no asset, no part of an upload, no ciphertext',
    async () => {
      // 256 MiB of zeroes: long enough to be ended on the way.
      await writeFile(path('large.bin'), '')
      await truncate(path('large.bin'), 2 ** 28)
      const { code, stderr } = await cella(
        'large',
        [
          ...['publish', path('large.bin'), '--kind', 'file', '--as', 'never', '--program', 'any', '--receiver', 'any'],
          '--allow-simulated',
        ],
        // From when on it listens for that.
        {
          interruptWhen: () => readdirSync(home, { recursive: true }).some((name) => String(name).includes('sealing-')),
        },
      )
      assert.equal(code, 1, stderr)
      assert.match(stderr, /stopped, as you asked: nothing was published/)
      assert.deepEqual(await readdir(path('server/manager/blobs/uploads')), [])
      const left = (await readdir(home, { recursive: true })).filter((name) => name.includes('sealing-'))
      assert.deepEqual(left, [])
      const { assets } = await done<{ assets: { series: string }[] }>('large', ['assets', 'list'])
      assert.ok(!assets.some(({ series }) => series === 'never'))
    },
  )

  await context.test('the dry run says that approvals are missing and nothing else', async () => {
    const { assets } = await done<{ assets: { organisationName: string; reasons: { code: string }[] }[] }>('office', [
      'workflow',
      'check',
      '--file',
      path('pay-gap.yaml'),
    ])
    assert.deepEqual(
      assets.map(({ reasons }) => reasons.map(({ code }) => code)),
      [['ERR_APPROVAL_MISSING'], ['ERR_APPROVAL_MISSING'], []],
    )
    assert.deepEqual(
      assets.map(({ organisationName }) => organisationName),
      ['Large', 'Small', 'University'],
    )
  })

  const { contract } = await done<{ contract: string }>('office', [
    'contract',
    'create',
    '--file',
    path('pay-gap.yaml'),
  ])

  await context.test('a run without approvals is refused, and its owner reads why', async () => {
    const refused = await cella('office', ['run', contract])
    assert.equal(refused.code, 1)
    assert.match(refused.stdout, /run 1 refused.*[\s\S]*ERR_APPROVAL_MISSING/)
    const owner = await cella('large', ['policy', 'explain', contract, '1'])
    assert.match(
      owner.stdout,
      /ERR_APPROVAL_MISSING at asset payroll\.approval: expected an approval in force .* the approver can change that/,
    )
  })

  await context.test('after approvals it runs, and its receipt verifies', async () => {
    for (const profile of ['large', 'small']) await done(profile, ['contract', 'approve', contract])
    const run = await done<{ status: string; receipt: string }>('office', ['run', contract])
    assert.deepEqual([run.status, run.receipt], ['finished', 'proved'])
  })

  await context.test('one trace leads from the command over the manager to vault and worker', async () => {
    const last = () => collector.spans.findLast(({ name }) => name === 'cella run')!
    const ofRun = () => collector.spans.filter(({ traceId }) => traceId === last().traceId)
    while (!ofRun().some(({ name }) => name === 'run')) await sleep(20)
    const spans = ofRun()
    const up = (span: ReceivedSpan | undefined): ReceivedSpan | undefined =>
      spans.find(({ spanId }) => spanId === span?.parentSpanId)
    const way = (name: string): string[] => {
      const names: string[] = []
      for (let at = spans.find((span) => span.name === name); at !== undefined; at = up(at))
        names.push(`${at.service} ${at.name}`)
      return names
    }
    const above = [
      'cella-manager run',
      'cella-manager POST /v1/contracts/:digest/runs',
      'cella-client POST /v1/contracts',
      'cella-client cella run',
    ]
    for (const [service, phases] of Object.entries({
      'cella-manager': ['queued', 'offered'],
      'cella-vault': ['decide', 'release'],
      'cella-worker': ['inputs', 'run', 'receipt', 'hand-over'],
    })) {
      for (const phase of phases) assert.deepEqual(way(`run: ${phase}`), [`${service} run: ${phase}`, ...above])
    }
    for (const span of spans.filter(({ name }) => name.startsWith('run: '))) {
      assert.ok(BigInt(span.startTimeUnixNano) <= BigInt(span.endTimeUnixNano), span.name)
      assert.ok(BigInt(span.startTimeUnixNano) >= BigInt(up(span)!.startTimeUnixNano), span.name)
      assert.ok(BigInt(span.endTimeUnixNano) <= BigInt(up(span)!.endTimeUnixNano), span.name)
    }
  })

  await context.test('a collector that is not there harms no command; one that can’t be is a usage error', async () => {
    const away = await cella('office', ['runs', 'list'], { env: { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:9' } })
    assert.equal(away.code, 0, away.stderr)
    assert.doesNotMatch(away.stderr, /127\.0\.0\.1:9\b/)
    const wrong = await cella('office', ['runs', 'list', '--traces', 'http://me:secret@collector'])
    assert.equal(wrong.code, 2)
    assert.match(wrong.stderr, /--traces/)
    assert.doesNotMatch(wrong.stderr, /secret@/)
  })

  await context.test('the receiver opens a table in which the small group is suppressed', async () => {
    const opened = await done<{ suppressed: number; rows: Record<string, string | null>[] }>('office', [
      'open',
      contract,
      '2',
    ])
    assert.equal(opened.suppressed, 1)
    const small = opened.rows.find(({ source, sex }) => source === 'small' && sex === 'female')
    assert.deepEqual([small?.n, small?.mean, small?.median], [null, null, null])
    assert.notEqual(opened.rows.find(({ source, sex }) => source === 'small' && sex === 'male')?.mean, null)
    const shown = await cella('office', ['open', contract, '2'])
    assert.match(shown.stdout, /█/)
    assert.match(shown.stdout, /SIMULATED/)
    // The program's own words are for those whom the contract names, and never shown by default.
    const words = await cella('office', ['open', contract, '2', '--name', 'cella-diagnostics', '--output', '-'])
    assert.deepEqual([words.code, JSON.parse(words.stdout).status], [0, 'ok'])
  })

  await context.test('nobody but the receiver opens it', async () => {
    const refused = await cella('large', ['open', contract, '2'])
    assert.equal(refused.code, 1)
    assert.match(refused.stderr, /ERR_OUTPUT_REFUSED/)
  })

  await context.test(
    'the receipt verifies offline under one’s own anchors, and tells nothing without them',
    async () => {
      const file = path('receipt.json')
      await done('office', ['receipt', 'show', contract, '2', '--output', file])
      type Verified = Record<'statements' | 'notProved', { code: string }[]> & { outcome: string }
      const verified = await done<Verified>('office', ['verify', file])
      assert.equal(verified.outcome, 'proved')
      const proved = verified.statements.map(({ code }) => code)
      for (const one of ['SIGNER_SIMULATED', 'LOG_SIGNER']) assert.ok(proved.includes(one))
      const open = verified.notProved.map(({ code }) => code)
      for (const one of ['SIMULATED_TEE', 'NOBODY_INDEPENDENT_WATCHED', 'SIGNER_LATER']) assert.ok(open.includes(one))
      const stranger = await cella('stranger', ['--json', 'verify', file])
      assert.equal(stranger.code, 3)
      assert.equal(JSON.parse(stranger.stdout).outcome, 'cannot-tell')
      // For the vectors of core/receipt: CELLA_KEEP_RECEIPT=FOLDER keeps a real receipt and the anchors that judge it.
      const keep = process.env.CELLA_KEEP_RECEIPT
      if (keep !== undefined) {
        await mkdir(keep, { recursive: true })
        await copyFile(file, join(keep, 'run.cella-receipt'))
        await copyFile(join(home, 'profiles/office/anchors.json'), join(keep, 'anchors.json'))
      }
    },
  )

  await context.test('a new epoch of an owner’s key begins, and what it granted is opened under it', async () => {
    const seen = () => done<{ vaults: { vault: string; epoch: number; grants: number }[] }>('small', ['vaults', 'list'])
    const [before] = (await seen()).vaults
    assert.deepEqual([before!.epoch, before!.grants], [1, 1])
    const rotation = await done<{ epoch: number; kek: string; grants: string[] }>('small', [
      'vaults',
      'rotate',
      before!.vault,
      '--yes',
    ])
    assert.deepEqual([rotation.epoch, rotation.grants.length], [2, 1])
    assert.deepEqual(
      (await seen()).vaults.map(({ epoch }) => epoch),
      [2],
    )
    // The runs below open the same grant.
    assert.equal((await cella('small', ['vaults', 'rotate', 'nobody'])).code, 2)
  })

  await context.test('a third use of an asset that allows two is refused', async () => {
    const second = await cella('office', ['run', contract])
    assert.equal(second.code, 0, second.stderr)
    const third = await cella('office', ['run', contract])
    assert.equal(third.code, 1)
    assert.match(third.stdout, /ERR_LIMIT_RUNS/)
  })

  await context.test(
    'each owner reads all that happened to its own assets, whole or in part, and can have it forgotten',
    async () => {
      const session = await sessionOf('large')
      const info = await session.info()
      const vault = info.vaults[0]!.id as KeyId
      const key = await fetchStreamKey(session, { vault })
      const stream = await readStream(session, key)
      const { audit } = stream
      assert.deepEqual([audit.problems, audit.extra], [[], []])
      const told = audit.entries.map(({ type, fields }) => [type, valuesOf(fields).run, valuesOf(fields).allowed])
      assert.deepEqual(told, [
        ['decision', 1, false],
        ['decision', 2, true],
        ['released', 2, undefined],
        ['decision', 3, true],
        ['released', 3, undefined],
        ['decision', 4, false],
        ['access', undefined, undefined],
      ])
      assert.deepEqual(unfinishedReleases(audit.entries), [])
      const { policy } = stream.log
      const shown = verifyDisclosure(await discloseEntry(stream, key, { n: 1, names: ['allowed'] }), policy)
      assert.deepEqual([valuesOf(shown.fields), shown.entry.index], [{ allowed: true }, audit.entries[1]!.index])
      const expected = { policy, organisation: key.organisation, vaults: [vault] }
      const whole = verifyStreamExport(await exportStream(stream, key), expected)
      assert.deepEqual([whole.audit.entries.length, whole.audit.problems], [7, []])

      await eraseEntries(session, { vault, entries: [1] })
      const after = await readStream(session, key)
      assert.deepEqual(
        after.audit.entries.map(({ state, type }) => (state === 'read' ? type : state)),
        ['decision', 'erased', 'released', 'decision', 'released', 'decision', 'access', 'erasure'],
      )
      assert.deepEqual(after.audit.problems, [])
      const later = await exportStream(after, key, { from: stream.checkpoint.bytes })
      assert.deepEqual(
        verifyStreamExport(later, expected).audit.entries.map(({ n }) => n),
        [7],
      )

      // The university's stream is another one: its key finds nothing of this one.
      const university = await sessionOf('university')
      const other = await readStream(university, await fetchStreamKey(university, { vault }))
      const seen = new Set(after.audit.entries.map(({ index }) => index))
      assert.ok(other.audit.entries.length > 0 && other.audit.entries.every(({ index }) => !seen.has(index)))
    },
  )

  await context.test('an owner lists who asked for an asset, with proofs, and what the list can’t show', async () => {
    const table = path('access.csv')
    const report = await done<{
      complete: boolean
      problems: string[]
      records: { run: number; verdict: string; reasons: string[]; receivers: string[]; purpose: string }[]
    }>('large', ['assets', 'access', 'own/payroll', '--csv', table])
    const rows = report.records.map(({ run, verdict }) => [run, verdict])
    // Of run 2, the entry of the decision was erased above.
    assert.deepEqual(rows, [
      [1, 'denied'],
      [3, 'released'],
      [4, 'denied'],
    ])
    assert.equal(report.complete, false)
    assert.match(report.problems.join(), /entry 1: its body was erased/)
    assert.match(report.records[2]!.reasons.join(), /ERR_LIMIT_RUNS/)
    assert.ok(report.records.every(({ receivers, purpose }) => receivers.length > 0 && purpose !== ''))
    assert.equal((await readFile(table, 'utf8')).split('\r\n').length, 5)
  })

  await context.test('the same by commands: events listed, searched, disclosed, exported, judged offline', async () => {
    interface Listed {
      readonly entries: { n: number; type: string | null; state: string }[]
      readonly of: number
    }
    const tail = await done<Listed>('large', ['log', 'tail', '--lines', '3'])
    assert.equal(tail.entries.length, 3)
    const denied = await done<Listed>('large', ['log', 'search', '--kind', 'decision', '--verdict', 'denied'])
    assert.deepEqual(
      denied.entries.map(({ n }) => n),
      [0, 5],
    )
    const contracts = await done<Listed>('large', [
      'log',
      'search',
      '--contract',
      contract.slice(0, 8),
      '--until',
      '2020-01-01',
    ])
    assert.deepEqual([contracts.entries, contracts.of > 0], [[], true])
    const shown = await cella('large', ['log', 'show', '2'])
    assert.match(shown.stdout, /type +released\n/)
    const erased = await done<{ state: string }>('large', ['log', 'show', '1'])
    assert.equal(erased.state, 'erased')

    const disclosed = path('decision.cella-disclosure')
    await done('large', ['log', 'disclose', '3', '--field', 'type', '--field', 'allowed', '--output', disclosed])
    const judged = await cella('office', ['verify', disclosed])
    assert.equal(judged.code, 0, judged.stdout)
    assert.match(judged.stdout, /PROVED.*log’s key is held by.*Field allowed is true\..*further fields of the event/s)
    const bytes = await readFile(disclosed, 'utf8')
    await writeFile(path('bent'), bytes.replace('"allowed",true', '"allowed",false'))
    const bent = await cella('office', ['verify', path('bent')])
    assert.deepEqual([bent.code, /DISPROVED/.test(bent.stdout)], [1, true])

    const exported = path('all.cella-export')
    const { vault } = await done<{ vault: string }>('large', [
      'log',
      'export',
      exported,
      '--checkpoint',
      path('end.note'),
    ])
    const whole = await cella('large', ['verify', exported, '--vault', vault])
    assert.equal(whole.code, 0, whole.stdout)
    assert.match(whole.stdout, /log’s key is held by.*every one that it has there/s)
    assert.equal((await cella('large', ['verify', exported])).code, 3)
    await done('large', ['log', 'export', path('later.cella-export'), '--from', path('end.note')])

    await done('large', ['log', 'prove', '3', '--output', path('event.tlog-proof')])
    const event = await done<{ outcome: string; leafKind: string }>('office', [
      'log',
      'verify',
      path('event.tlog-proof'),
    ])
    assert.deepEqual([event.outcome, event.leafKind], ['proved', 'event'])
    assert.equal((await cella('large', ['log', 'check', '--events'])).code, 0)
  })

  await context.test('the log is followed, copied, and checked wherever it lies', async () => {
    const copy = path('copy')
    const mirrored = await done<{ size: number }>('office', ['log', 'mirror', copy])
    assert.ok(mirrored.size > 10)
    const checked = await done<{ size: number; problems: string[] }>('office', ['log', 'check', copy])
    assert.deepEqual([checked.size, checked.problems], [mirrored.size, []])
    const bundle = join(copy, 'tile/entries', (await readdir(join(copy, 'tile/entries')))[0]!)
    const file = bundle.endsWith('.p') ? join(bundle, (await readdir(bundle))[0]!) : bundle
    const bytes = await readFile(file)
    bytes[40]! ^= 1
    await writeFile(file, bytes)
    const damaged = await cella('office', ['log', 'check', copy])
    assert.deepEqual([damaged.code, /✗ tile\/0\/000/.test(damaged.stdout)], [1, true])
    const { manager } = JSON.parse(await readFile(installation(), 'utf8')) as { manager: string }
    const served = await cella('office', ['log', 'check', `${manager}/v1/log/`])
    assert.match(served.stdout, /are what its checkpoint says/)
    const first = await done<{ before: number; size: number; findings: unknown[] }>('large', [
      'log',
      'monitor',
      '--once',
    ])
    assert.deepEqual([first.before, first.findings], [0, []])
    await done('large', ['assets', 'list'])
    const again = await done<{ before: number; entries: unknown[] }>('large', ['log', 'monitor', '--once', '--events'])
    assert.deepEqual([again.before, again.entries], [first.size, []])
  })

  await context.test('a withdrawn asset is released no more', async () => {
    await done('small', ['assets', 'revoke', 'own/payroll', '--reason', 'test'])
    const refused = await cella('office', ['run', contract])
    assert.equal(refused.code, 1)
    assert.match(refused.stdout + refused.stderr, /ERR_DOCUMENT_REVOKED|withdrawn/)
  })

  await context.test('a member is taken in by a card, acts, and acts no more once removed', async () => {
    const card = path('ada.card.json')
    const made = await cella('ada', ['keys', 'list', '--create', '--card', 'Ada Example'])
    assert.equal(made.code, 0, made.stderr)
    await writeFile(card, made.stdout)
    const { membership } = await done<{ membership: string }>('large', [
      'org',
      'member',
      'add',
      card,
      '--role',
      'publisher',
    ])
    await done('ada', ['org', 'trust', '--installation', installation()])
    await done('ada', ['org', 'trust', ids.large!, '--name', 'Large', '--join'])
    const shown = await done<{ members: { name: string }[] }>('ada', ['org', 'show'])
    assert.ok(shown.members.some(({ name }) => name === 'Ada Example'))
    // A mere member holds no root key.
    const terms = await cella('ada', ['org', 'terms', '--installation', installation(), '--allow-simulated'])
    assert.equal(terms.code, 1)
    assert.match(terms.stderr, /keys must sign it that are not held here/)
    // Whom the terms name for recovery: they accept another log, and nothing else.
    const policy = path('successor.policy')
    const { logPolicy } = JSON.parse(await readFile(installation(), 'utf8'))
    await writeFile(policy, `${logPolicy}# a successor\n`)
    const alone = await cella('large', ['org', 'terms', '--recovery-account', 'Ada Example'])
    assert.equal(alone.code, 2)
    const named = ['--recovery-account', 'Ada Example', '--recovery-threshold', '1']
    const { revision } = await done<{ revision: number }>('large', ['org', 'terms', ...named])
    const next = await done<{ revision: number }>('ada', ['org', 'terms', '--log', policy, '--recovery'])
    assert.equal(next.revision, revision + 1)
    const inForce = await done<{ log: string }>('large', ['org', 'terms', '--show'])
    assert.match(inForce.log, /# a successor/)
    // New terms go on to name them, until they are told not to.
    await done('large', ['org', 'terms', '--installation', installation(), '--allow-simulated'])
    const words = await cella('large', ['org', 'terms', '--show'])
    assert.match(words.stdout, /recovery +1 of Ada Example: accept the successor of a lost log, and grant/)
    await done('large', ['org', 'terms', '--no-recovery'])
    await done('large', ['org', 'member', 'remove', membership.slice(0, 12), '--reason', 'test'])
    const after = await done<{ members: { name: string }[] }>('large', ['org', 'show'])
    assert.ok(!after.members.some(({ name }) => name === 'Ada Example'))
  })

  await context.test('a document is proven by a file that other tools read', async () => {
    const proof = path('contract.tlog-proof')
    await done('office', ['log', 'prove', contract, '--output', proof])
    const shown = await done<{ statements: { code: string }[] }>('office', ['verify', proof])
    assert.ok(shown.statements.some(({ code }) => code === 'SIGNER_SIMULATED'))
    // The same entry as a COSE receipt, with the entry beside it.
    const receipt = path('contract.cose')
    await done('office', ['log', 'prove', contract, '--format', 'cose', '--output', receipt])
    const cose = await done<{ outcome: string }>('office', ['verify', receipt, '--entry', `${receipt}.entry`])
    assert.equal(cose.outcome, 'proved')
    // Its exit code says how full this machine's disk is, too.
    const { stdout } = await cella('large', ['--json', 'doctor', '--data', path('server')])
    const doctor: { findings: { check: string; ok: boolean }[] } = JSON.parse(stdout)
    for (const check of ['log signer', 'data folder', 'PostgreSQL', 'blobs', 'log server', 'log history', 'workers']) {
      assert.equal(doctor.findings.find((finding) => finding.check === check)?.ok, true, check)
    }
    assert.ok(doctor.findings.some(({ check }) => check === 'disk'))
    assert.match(await readFile(proof, 'utf8'), /^c2sp\.org\/tlog-proof@v1\nextra \S+\nindex \d+\n/)
    const judged = await done<{ document: string; type: string }>('large', ['verify', proof])
    assert.deepEqual([judged.document, judged.type], [contract, 'cella/contract'])
  })

  await context.test('a second server on the same data is refused, and status tells of the first', async () => {
    const again = await cella('large', ['up', '--data', path('server')])
    assert.equal(again.code, 1)
    assert.match(again.stderr, /runs on .* already/)
    const status = await done<{ ready: boolean; processes: { ready: boolean }[] }>('large', [
      'status',
      '--data',
      path('server'),
    ])
    assert.ok(status.ready && status.processes.every(({ ready }) => ready))
  })

  await context.test(
    'no span of any of these commands says what people wrote, own or show as who they are',
    async () => {
      // What a question looks for is in its path: the manager gets it, the collector does not.
      const found = await cella('large', ['assets', 'search', 'payroll'])
      assert.match(found.stdout, /payroll/)
      const before = collector.spans.length
      while (!collector.spans.slice(before).some(({ service }) => service === 'cella-manager')) {
        await cella('large', ['runs', 'list'])
      }
      const { workerToken } = JSON.parse(await readFile(path('server/config/manager.json'), 'utf8'))
      const canaries = {
        'a name of an asset': 'payroll',
        'a name of a program': 'pay-gap',
        'a title': 'Payroll of',
        'a column': 'wage',
        'another column': 'sex',
        'a value': 'Person',
        'a purpose': 'equal pay',
        'an organisation': 'University',
        'a passphrase': 'correct horse',
        'the token of workers': workerToken,
        'a token of an account': 'Cella ey',
        'a path': folder,
        'a file': '.csv',
        'a contract': contract,
        'an id of an organisation': ids.large!,
      }
      const sent = collector.bodies.join('\n')
      for (const [what, canary] of Object.entries(canaries)) assert.ok(!sent.includes(canary), what)
      for (const name of ['cella org create', 'cella publish', 'cella contract approve', 'cella open', 'cella up']) {
        assert.ok(sent.includes(`"${name}"`), name)
      }
      for (const { name, attributes } of collector.spans) {
        assert.match(
          name,
          /^(?:cella(?: [a-z-]+){1,3}|(?:GET|POST|PUT) (?:other|(?:\/(?::?[a-z0-9.-]+|\*))+)|run(?:: [a-z-]+)?|vault [a-z-]+)$/i,
        )
        for (const { key } of attributes) {
          assert.match(key, /^(?:http\.(?:request\.method|route|response\.status_code)|cella\.attempt)$/)
        }
      }
    },
  )

  // It takes about a minute.
  const skip = process.env.CELLA_LONG === '1' ? false : 'with CELLA_LONG=1 alone'
  await context.test('started again with cover, a quiet organisation’s stream has entries', { skip }, async () => {
    await done('large', ['down', '--data', path('server')])
    const flags = ['--cover-seconds', '1']
    assert.equal((await cella('large', ['up', '--data', path('server'), ...flags])).code, 0)
    for (let type: string | null | undefined; type !== 'cover'; await sleep(200)) {
      const { entries } = await done<{ entries: { type: string | null }[] }>('large', ['log', 'tail', '--lines', '1'])
      type = entries[0]?.type
    }
  })
})

test('`up` that is interrupted says so, and leaves nothing', async () => {
  const { code, stderr } = await cella('large', ['up', '--data', path('interrupted')], { interruptAt: 'witness-1' })
  assert.equal(code, 1)
  assert.match(
    stderr,
    /error: stopped before it was ready, as you asked; nothing of it runs \(ERR_INTERRUPTED\)\nhint: /,
  )
  const { processes } = JSON.parse(await readFile(path('interrupted/status.json'), 'utf8'))
  assert.ok(processes.length > 0 && processes.every(({ pid }: { pid: number | null }) => pid === null))
})

test('`up` with a database that can’t be used says why, and what to do', async () => {
  for (const [url, expected] of [
    ['nonsense:hunter2', /DATABASE_URL is not of the form postgresql:.*\nhint: .*unset it/],
    ['postgresql://me:hunter2@127.0.0.1:9/cella', /can't be used: .*ECONNREFUSED.*\nhint: .*DATABASE_URL runs/],
  ] as const) {
    const { code, stderr } = await cella('large', ['up', '--data', path('elsewhere')], { env: { DATABASE_URL: url } })
    assert.equal(code, 3)
    assert.match(stderr, expected)
    assert.doesNotMatch(stderr, /hunter2/)
  }
})

test('`up` with keys of an S3 store in a file that others can read says so, and starts nothing', async () => {
  const file = path('s3.json')
  await writeFile(file, JSON.stringify({ kind: 's3', secretAccessKey: 'hunter2' }), { mode: 0o644 })
  const { code, stderr } = await cella('large', ['up', '--data', path('elsewhere'), '--blobs', file])
  assert.equal(code, 3)
  assert.match(stderr, /s3\.json can be read by others.*\nhint: chmod 600/)
  assert.doesNotMatch(stderr, /hunter2/)
})
