import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { freePort } from './support/installation.ts'
import { type Machines, makeMachines } from './support/machines.ts'

// Three organisations on three machines: the registry runs the installation, the clinic owns data, the office asks. Each
// has a home, a keystore and, where the platform allows, a network of its own; invitations are all that they exchange.

const root = fileURLToPath(new URL('..', import.meta.url))
let folder: string
let machines: Machines
let port: number

interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

async function cella(machine: string, args: readonly string[]): Promise<Ended> {
  const [command, ...parameters] = [
    ...machines.on(machine),
    process.execPath,
    join(root, 'client/cli/bin/cella.js'),
    ...['--home', join(folder, machine), '--passphrase-fd', '3', '--yes', ...args],
  ] as [string, ...string[]]
  const child = spawn(command, parameters, { stdio: ['ignore', 'pipe', 'pipe', 'pipe'] })
  const passphrase = child.stdio[3] as NodeJS.WritableStream
  passphrase.on('error', () => undefined)
  passphrase.end('correct horse battery staple\n')
  const read = async (stream: NodeJS.ReadableStream): Promise<string> => {
    let text = ''
    for await (const part of stream) text += part
    return text
  }
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve))
  const [stdout, stderr, code] = await Promise.all([read(child.stdout!), read(child.stderr!), ended])
  return { code, stdout, stderr }
}

async function done<Value>(machine: string, args: readonly string[]): Promise<Value> {
  const { code, stdout, stderr } = await cella(machine, ['--json', ...args])
  assert.equal(code, 0, `cella ${args.join(' ')}: ${stderr}${stdout}`)
  return JSON.parse(stdout) as Value
}

const path = (name: string): string => join(folder, name)
const program = join(root, 'examples/programs/pay-gap/pay-gap.wasm')

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cella-machines-'))
  machines = makeMachines(`c${process.pid % 100_000}`, ['registry', 'clinic', 'office'])
  port = await freePort()
  const up = await cella('registry', [
    ...['up', '--data', path('server'), '--listen', `${machines.address}:${port}`, '--tls', 'self-signed', '--attest'],
  ])
  assert.equal(up.code, 0, up.stderr)
})

after(async () => {
  await cella('registry', ['down', '--data', path('server')])
  machines.remove()
  await rm(folder, { recursive: true, force: true })
})

test('three homes on three machines', async (context) => {
  if (machines.shared !== undefined) context.diagnostic(`one network for all: ${machines.shared}`)
  const installation = path('server/installation.json')
  const ids: Record<string, string> = {}

  await context.test('whoever runs it founds an organisation and invites', async () => {
    const made = await done<{ organisation: string }>('registry', [
      ...['org', 'create', 'Registry', '--member', 'Rita', '--installation', installation],
    ])
    ids.registry = made.organisation
    await done('registry', ['org', 'terms', '--installation', installation, '--allow-simulated'])
    const invited = await done<{ manager: string; tlsPin: string | null }>('registry', [
      ...['invite', '--output', path('registry.invitation'), '--installation', installation],
    ])
    assert.equal(invited.manager, `https://${machines.address}:${port}`)
    assert.match(invited.tlsPin ?? '', /^[0-9a-f]{64}$/)
  })

  await context.test('the others have each claim checked, and join', async () => {
    for (const machine of ['clinic', 'office']) {
      const joined = await done<{ claims: { claim: string; holds: boolean }[]; inviter: object }>(machine, [
        ...['join', path('registry.invitation')],
      ])
      assert.deepEqual(
        joined.claims.map(({ claim, holds }) => [claim, holds]),
        ['manager', 'log', 'witnesses', 'validity', 'inviter', 'vault'].map((claim) => [claim, true]),
      )
      assert.deepEqual(joined.inviter, { organisation: 'Registry', member: 'Rita' })
      const made = await done<{ organisation: string }>(machine, ['org', 'create', machine, '--member', 'Member'])
      ids[machine] = made.organisation
      await done(machine, ['org', 'terms', '--installation', path('registry.invitation'), '--allow-simulated'])
    }
    for (const [machine, other] of [
      ['clinic', 'office'],
      ['office', 'clinic'],
      ['registry', 'office'],
    ] as const) {
      await done(machine, ['org', 'trust', ids[other]!, '--name', other])
    }
  })

  await context.test('the attestation service names itself by the address that others reach it at', async () => {
    const url = `https://${machines.address}:${port}/attest`
    // No preset takes a simulated TEE.
    const { code, stdout } = await cella('office', ['--json', 'evidence', 'challenge', url, '--policy', 'gcp-snp'])
    assert.equal(code, 1)
    const { role, binding } = JSON.parse(stdout) as { role: string; binding: { issuer: string } }
    assert.deepEqual([role, binding.issuer], ['attestation-service', url])
  })

  await context.test('each publishes, approves, runs and opens from its own machine', async () => {
    const rows = Array.from(
      { length: 24 },
      (_, at) => `Person ${at},${at % 2 === 0 ? 'female' : 'male'},${10 + (at % 7)}.5`,
    )
    await writeFile(path('staff.csv'), `name,gndr,wage\n${rows.join('\n')}\n`)
    const columns = [
      { name: 'source', type: 'text', role: 'group' },
      { name: 'sex', type: 'text', role: 'group' },
      { name: 'n', type: 'integer', role: 'count' },
      { name: 'mean', type: 'number', role: 'value' },
      { name: 'median', type: 'number', role: 'value' },
    ]
    await writeFile(path('result.json'), JSON.stringify({ format: 'table', columns }))
    await done('registry', [
      ...['publish', program, '--kind', 'program', '--as', 'pay-gap', '--output', `result=${path('result.json')}`],
      ...['--program', 'any', '--receiver', 'any', '--allow-simulated', '--approval', 'policy-suffices'],
    ])
    await done('clinic', [
      ...['publish', path('staff.csv'), '--as', 'staff', '--program', 'Registry/pay-gap', '--receiver', 'receiver'],
      ...[
        '--allow-simulated',
        '--treat',
        'name=drop',
        '--treat',
        'gndr=pass',
        '--treat',
        'wage=pass',
        '--min-group',
        '5',
      ],
    ])
    await writeFile(
      path('question.yaml'),
      `name: pay-gap
purpose: equal pay report
program: Registry/pay-gap
arguments: [--input, staff, --value, wage, --group, sex]
inputs: [{ name: staff, asset: clinic/staff, columns: { sex: gndr } }]
outputs: [{ name: result, receivers: ["office:receiver"] }]
simulated: true
runs: 1
days: 2
`,
    )
    const { contract } = await done<{ contract: string }>('office', [
      'contract',
      'create',
      '--file',
      path('question.yaml'),
    ])
    await done('office', ['contract', 'ask', contract, '--message', 'Due on Friday.'])
    type Box = {
      approve: { contract: string; author: string; assets: string[]; message: string; by: number | null }[]
      asked: { contract: string; to: string; standing: string; who: string | null }[]
      runs: { contract: string; isReceiver: boolean; status: string }[]
    }
    const [waiting] = (await done<Box>('clinic', ['inbox'])).approve
    assert.deepEqual(
      [waiting?.contract, waiting?.author, waiting?.assets, waiting?.message, typeof waiting?.by],
      [contract, 'office', ['staff'], 'Due on Friday.', 'number'],
    )
    const [seen] = (await done<Box>('office', ['inbox'])).asked
    assert.deepEqual([seen?.to, seen?.standing, seen?.who], ['clinic', 'seen', 'Member'])
    await done('clinic', ['contract', 'delegate', contract, '--to', 'Member'])
    const { review } = await done<{ review: { lines: string[]; before: null } }>('clinic', [
      'contract',
      'approve',
      contract,
    ])
    assert.equal(review.before, null)
    for (const expected of [
      /column name .*: drop/,
      /column gndr .*: pass/,
      /column gndr: the program reads it as sex/,
      /its source is open/,
      /your policy: /,
      /goes to office \(receiver\)/,
    ]) {
      assert.ok(
        review.lines.some((line) => expected.test(line)),
        `${expected} in ${review.lines.join('\n')}`,
      )
    }
    assert.deepEqual((await done<Box>('clinic', ['inbox'])).approve, [])
    const run = await done<{ status: string }>('office', ['run', contract])
    assert.equal(run.status, 'finished')
    const opened = await done<{ outputs?: unknown }>('office', ['open', contract, '1'])
    assert.match(JSON.stringify(opened), /female/)
    const after = await done<Box>('office', ['inbox'])
    assert.equal(after.asked[0]?.standing, 'approved')
    assert.deepEqual(
      after.runs.map(({ isReceiver, status }) => [isReceiver, status]),
      [[true, 'finished']],
    )
    const watched = await cella('clinic', ['--json', 'watch', '--after', '1', '--count', '3'])
    assert.equal(watched.stdout.trim().split('\n').length, 4, watched.stderr)
  })

  await context.test('an invitation that was changed is refused, and keeps nothing', async () => {
    const text = await readFile(path('registry.invitation'), 'utf8')
    const file = JSON.parse(text) as { document: string; documents: string[] }
    const envelope = JSON.parse(file.document) as { payload: string; signatures: object[] }
    const payload = JSON.parse(Buffer.from(envelope.payload, 'base64url').toString()) as Record<string, unknown>
    const changed = (change: Record<string, unknown>): string => {
      const bytes = Buffer.from(JSON.stringify({ ...payload, ...change })).toString('base64url')
      return JSON.stringify({ ...file, document: JSON.stringify({ payload: bytes, signatures: envelope.signatures }) })
    }
    const refusals: [string, string, RegExp][] = [
      ['its end moved', changed({ notAfter: 1_900_000_000 }), /ERR_DOCUMENT_SIGNATURE|does not verify/],
      ['another vault in it', changed({ vaults: ['A'.repeat(43)] }), /✗/],
      ['another key of TLS', changed({ tlsPin: 'ab'.repeat(32) }), /✗ the manager: .*the one you know is abab/],
      [
        'the member’s papers left out',
        JSON.stringify({ ...file, documents: file.documents.slice(0, 0) }),
        /nobody vouches/,
      ],
      ['cut short', text.slice(0, -20), /ERR_INVITATION_MALFORMED/],
    ]
    for (const [name, invitation, expected] of refusals) {
      await writeFile(path('changed.invitation'), invitation)
      const { code, stdout, stderr } = await cella('office', ['--profile', 'fresh', 'join', path('changed.invitation')])
      assert.equal(code, 1, name)
      assert.match(stdout + stderr, expected, name)
    }
    const { profiles } = await done<{ profiles: { name: string }[] }>('office', ['profile', 'list'])
    assert.deepEqual(
      profiles.map(({ name }) => name),
      ['default'],
    )
  })

  await context.test('plain HTTP is not served to others', async () => {
    const refused = await cella('office', ['up', '--data', path('elsewhere'), '--listen', '10.77.1.2:7000'])
    assert.equal(refused.code, 2)
    assert.match(refused.stderr, /plain HTTP is served to this machine alone.*\nhint: add --tls/)
  })
})
