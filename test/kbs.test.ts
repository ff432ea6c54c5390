import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import type { Digest } from '@cella/bytes'
import { openTee, type SimulatedLaunch, simulatedMeasurementHex, type TeeDriver } from '@cella/tee'
import { commandLine } from '@cella/testing'
import { KbsGuest } from '@cella/testing/kbs-guest'
import { freePort } from './support/installation.ts'

// An owner publishes a secret by commands alone, and a guest of somebody else's gets it over HTTP from the manager: real
// processes, a real database, log and witness; the guest's machine is simulated.

const secretText = 'postgres://ledger:correct-horse@db\n'
const launchOf = (digit: string): SimulatedLaunch => ({
  nodeDigest: digit.repeat(64) as Digest,
  bundleDigest: digit.repeat(64) as Digest,
  commandLine: [],
})
const guestLaunch = launchOf('1')

let folder: string
let manager: string
let vault: string
let tee: TeeDriver

/** The JSON of a command, the passphrase on descriptor 3; `input` on standard input. */
async function cella<Value>(args: readonly string[], input = ''): Promise<Value> {
  const child = spawn(
    process.execPath,
    [commandLine, '--home', join(folder, 'home'), '--passphrase-fd', '3', '--yes', '--json', ...args],
    { stdio: ['pipe', 'pipe', 'pipe', 'pipe'] },
  )
  const passphrase = child.stdio[3] as NodeJS.WritableStream
  // Commands that need neither end without reading them.
  passphrase.on('error', () => undefined)
  child.stdin!.on('error', () => undefined)
  passphrase.end('correct horse battery staple\n')
  child.stdin!.end(input)
  const read = async (stream: NodeJS.ReadableStream): Promise<string> => {
    let text = ''
    for await (const part of stream) text += part
    return text
  }
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve))
  const [stdout, stderr, code] = await Promise.all([read(child.stdout!), read(child.stderr!), ended])
  assert.equal(code, 0, `cella ${args.join(' ')}: ${stderr}${stdout}`)
  return JSON.parse(stdout) as Value
}

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cella-kbs-'))
  const data = join(folder, 'server')
  await cella(['up', '--data', data, '--port', String(await freePort())])
  const installation = join(data, 'installation.json')
  await cella(['org', 'create', 'Bank', '--installation', installation])
  await cella(['org', 'terms', '--installation', installation, '--allow-simulated'])
  const { default: file } = await import(installation, { with: { type: 'json' } })
  manager = file.manager
  vault = file.vaults[0]
  tee = await openTee({ kind: 'simulated', folder: join(data, 'tee'), measured: guestLaunch })
})

after(async () => {
  await cella(['down', '--data', join(folder, 'server')])
  await rm(folder, { recursive: true, force: true })
})

test('a guest that the owner allowed gets the secret; another, or one after the withdrawal, gets a code', async () => {
  const measurement = simulatedMeasurementHex(guestLaunch)
  await cella(['guests', 'allow', 'web', '--simulated', '--measurement', measurement])
  const publish = [
    'publish',
    '-',
    '--kind',
    'secret',
    '--as',
    'ledger-db',
    '--guests',
    'web',
    '--allow-simulated',
    '--runs',
    '2',
  ]
  const { organisation } = await cella<{ organisation: string }>(publish, secretText)
  const path = `${organisation}/ledger-db/latest`

  const guest = await new KbsGuest(manager, tee).handshake()
  for (const by of ['cookie', 'token'] as const) {
    const answer = await guest.resource(path, by)
    assert.equal(answer.status, 200, answer.text)
    assert.equal(Buffer.from(await guest.open(answer)).toString(), secretText)
  }
  const other = await openTee({ kind: 'simulated', folder: join(folder, 'server/tee'), measured: launchOf('2') })
  // A vault by its name, where a manager has several.
  const stranger = await new KbsGuest(`${manager}/v1/vaults/${vault}`, other).handshake()
  const refused = await stranger.resource(path)
  assert.equal(refused.status, 403)
  assert.match(String(refused.body.detail), /^ERR_SECRET_DENIED: ERR_TEE_MEASUREMENT/)

  // The protocol's own form for what no guest may say, streamed through the manager.
  for (const [sent, status, code] of [
    ['{"version":"0.1.1","tee":"snp","extra-params":""}', 401, 'ERR_KBS_VERSION'],
    ['{"version"', 400, 'ERR_REQUEST_MALFORMED'],
    [' '.repeat(1_500_000), 413, 'ERR_REQUEST_TOO_LARGE'],
  ] as const) {
    const answer = await new KbsGuest(manager, tee).auth(sent)
    assert.deepEqual([answer.status, String(answer.body.detail).split(':')[0]], [status, code])
    assert.match(String(answer.body.type), /^https:\/\/github\.com\/confidential-containers\/kbs\/errors\//)
  }

  const listed = await cella<{ policies: { name: string; revision: number }[] }>(['guests', 'list'])
  assert.deepEqual(
    listed.policies.map(({ name, revision }) => [name, revision]),
    [['web', 1]],
  )
  // The next revision: the guest of before is no longer one.
  await cella(['guests', 'allow', 'web', '--simulated', '--measurement', simulatedMeasurementHex(launchOf('2'))])
  assert.match((await guest.resource(path)).text, /ERR_TEE_MEASUREMENT/)
  const allowed = await stranger.resource(path)
  assert.equal(Buffer.from(await stranger.open(allowed)).toString(), secretText)
  // Two sessions got it: the third is one too many.
  const third = await new KbsGuest(manager, other).handshake()
  assert.match((await third.resource(path)).text, /ERR_LIMIT_RUNS/)
  await cella(['guests', 'revoke', 'web'])
  assert.match((await stranger.resource(path)).text, /ERR_GUEST_POLICY/)
  await cella(['assets', 'revoke', 'own/ledger-db'])
  assert.match((await stranger.resource(path)).text, /ERR_DOCUMENT_REVOKED/)

  // The manager kept every decision for the owner; who else asks for a vault's documents is refused.
  const withoutToken = await fetch(`${manager}/v1/secrets/${path}`)
  assert.equal(withoutToken.status, 401)
})
