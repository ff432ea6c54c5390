import { type ChildProcess, spawn } from 'node:child_process'
import { cpSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import {
  canonicalJson,
  type Digest,
  decodeBase64url,
  decodeUtf8,
  encodeBase64url,
  encodeUtf8,
  type Json,
} from '@cella/bytes'
import { generateHpkeKeyPair } from '@cella/primitives'
import {
  findAsset,
  followRun,
  openReasons,
  openSession,
  publishTerms,
  type Run,
  revokeAsset,
  startRuns,
  termsInForce,
} from '@cella/sdk'
import { chapter, refusal, say } from './narrate.ts'
import type { Operator, Trick } from './operator.ts'
import type { Party } from './parties.ts'
import type { Stage } from './stage.ts'
import { agree, type ContractOptions, day, now, publishProgram, runOnce } from './story.ts'

/** What the cheats are played with: the cast, and a contract that has run honestly before. */
export interface Scene {
  readonly stage: Stage
  readonly operator: Operator
  readonly folder: string
  readonly author: Party
  readonly receiver: Party
  readonly owners: readonly Party[]
  readonly contract: Digest
  readonly contractOptions: ContractOptions
  readonly programPath: string
  /** The most runs that the owners' policies allow. */
  readonly runsMax: number
}

/** A trick that was not refused: the demo fails. */
export class NotRefused extends Error {}

const root = fileURLToPath(new URL('../..', import.meta.url))

/** Tries a run and demands that it ends with one of `codes`; tells the reason as the asset's owner reads it. */
async function mustRefuse(scene: Scene, contract: Digest, ...codes: string[]): Promise<void> {
  await refused(scene, await runOnce(scene.author, contract), ...codes)
}

async function refused(scene: Scene, run: Run, ...codes: string[]): Promise<void> {
  const got = [run.error?.code, ...(run.error?.reasons ?? [])].filter((code) => code !== undefined)
  const code = codes.find((wanted) => got.includes(wanted))
  if (run.status === 'finished' || code === undefined) {
    throw new NotRefused(`expected ${codes.join(' or ')}, the run is ${run.status} (${got.join(', ')})`)
  }
  refusal(code, await reasonFor(scene, run, code))
}

/** The reason in full is sealed to whoever published the asset: the operator sees the code alone. */
async function reasonFor({ owners, author }: Scene, run: Run, code: string): Promise<string> {
  for (const { session, name } of [...owners, author]) {
    for (const { reasons } of await openReasons(session, run.decisions ?? [])) {
      const found = reasons?.find((reason) => reason.code === code)
      if (found !== undefined)
        return `${found.clause}: expected ${short(found.expected)}, got ${short(found.got)} (sealed to ${name})`
    }
  }
  return code.startsWith('ERR_SEAL')
    ? 'each chunk is checked against the signed digest before it is opened: the program never started'
    : `the run ended as “${run.status}”, and no key was released`
}

function short(text: string): string {
  return text.replace(/[0-9a-f]{24,}/g, (digits) => `${digits.slice(0, 12)}…`).slice(0, 150)
}

export async function changedProgram(scene: Scene): Promise<void> {
  chapter('A program changed by one byte')
  say(
    'The author, bought by the operator, publishes the program again with one byte changed, writes a new contract with it, and gets it approved by people who did not look.',
  )
  const altered = join(scene.folder, 'altered.wasm')
  const module = Buffer.from(readFileSync(scene.programPath))
  // A custom section at the end: the module still runs, and is another one.
  writeFileSync(altered, Buffer.concat([module, Buffer.from([0, 2, 1, 0x78])]))
  await publishProgram(scene.author, {
    path: altered,
    series: 'altered',
    outputs: scene.contractOptions.outputs.map(({ name }) => name),
    rules: { format: 'file', bytesMax: 1_048_576 },
  })
  const contract = await agree(scene.author, scene.receiver, {
    ...scene.contractOptions,
    name: 'altered',
    program: 'altered',
  })
  await mustRefuse(scene, contract, 'ERR_POLICY_PROGRAM')
}

/** Alters one document on its way to the enclaves, as the owner of the database could. */
function altering(scene: Scene, choose: (payload: Record<string, Json>) => Record<string, Json> | undefined): void {
  scene.operator.trick = {
    alter: (seen, answer) => {
      if (seen.path !== '/v1/worker/poll' || answer.length === 0) return undefined
      const offer = JSON.parse(answer.toString('utf8'))
      offer.documents = offer.documents.map((envelope: string) => {
        const outer = JSON.parse(envelope)
        const payload = JSON.parse(decodeUtf8(decodeBase64url(outer.payload, 'payload'), 'payload'))
        const changed = choose(payload)
        return changed === undefined
          ? envelope
          : canonicalJson({ ...outer, payload: encodeBase64url(encodeUtf8(canonicalJson(changed))) })
      })
      return Buffer.from(JSON.stringify(offer))
    },
  }
}

export async function swappedPolicy(scene: Scene): Promise<void> {
  chapter('A policy swapped')
  say(
    'The operator replaces the policy in a payroll’s manifest by one that lets everyone compute anything, in the database, on its way to the vault.',
  )
  altering(scene, (payload) =>
    payload.type === 'cella/manifest' && payload.kind === 'data'
      ? { ...payload, policy: 'permit(principal, action, resource);' }
      : undefined,
  )
  await mustRefuse(scene, scene.contract, 'ERR_DOCUMENT_MISSING', 'ERR_DOCUMENT_SIGNATURE')
  scene.operator.trick = {}
  say(
    'The manifest’s digest is in the grant and in the contract, and its signature is its owner’s: an altered one is no manifest at all.',
  )
}

export async function swappedReceiver(scene: Scene): Promise<void> {
  chapter('A receiver’s key swapped')
  say('The operator puts its own key into the labour office’s membership, so that the result would be sealed to it.')
  const { publicKey } = await generateHpkeKeyPair()
  altering(scene, (payload) =>
    payload.type === 'cella/membership' && payload.organisation === scene.receiver.id
      ? { ...payload, hpkeKey: encodeBase64url(publicKey) }
      : undefined,
  )
  await mustRefuse(scene, scene.contract, 'ERR_DOCUMENT_MISSING', 'ERR_DOCUMENT_SIGNATURE')
  scene.operator.trick = {}
}

export async function flippedBit(scene: Scene): Promise<void> {
  chapter('A ciphertext bit flipped')
  say('The operator flips one bit in the middle of a sealed payroll while the worker fetches it.')
  scene.operator.trick = {
    alter: ({ path }, answer) => {
      if (!path.startsWith('/v1/blobs/') || answer.length < 1000) return undefined
      const flipped = Buffer.from(answer)
      flipped[flipped.length >> 1]! ^= 1
      return flipped
    },
  }
  await mustRefuse(scene, scene.contract, 'ERR_SEAL_DIGEST_MISMATCH', 'ERR_INPUT_NOT_OPENED')
  scene.operator.trick = {}
}

export async function replayedRelease(scene: Scene, manager: string): Promise<void> {
  chapter('A release request replayed')
  say('The operator kept the worker’s last request for the keys, evidence and all, and sends it again.')
  const kept = [...scene.operator.seen].filter(([path]) => /\/v1\/vaults\/[^/]+\/(decide|release)$/.test(path))
  for (const [path, { body }] of kept) {
    const response = await fetch(`${manager}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: new Uint8Array(body),
    })
    const { error } = (await response.json()) as { error?: { code: string; message: string } }
    if (response.ok || error === undefined) throw new NotRefused(`${path} answered ${response.status} to a replay`)
    refusal(error.code, error.message)
  }
  if (kept.length < 2) throw new NotRefused('no request was seen that could be replayed')
}

/** The worker of this machine gets nothing to do. */
const noWork: Trick = {
  instead: ({ path }) => (path === '/v1/worker/poll' ? { status: 503, body: '{}' } : undefined),
}

/** Another worker, which the operator starts; the honest one gets no work meanwhile. */
async function withRogueWorker(
  scene: Scene,
  { bundle, tee }: { bundle: string; tee: string },
  body: () => Promise<void>,
): Promise<void> {
  const { manager, logPolicy } = scene.stage.installation()
  const { workerToken } = JSON.parse(readFileSync(join(scene.stage.folder, 'state.json'), 'utf8'))
  const { options } = JSON.parse(readFileSync(join(scene.stage.folder, 'enclaves', 'builds.json'), 'utf8'))
  scene.operator.trick = noWork
  scene.operator.interrupt()
  const rogue: ChildProcess = spawn(process.execPath, [...options, bundle], {
    env: {},
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  rogue.stdin!.end(
    canonicalJson({
      manager,
      token: workerToken,
      name: 'rogue',
      logPolicy,
      runner: join(scene.stage.folder, 'enclaves', 'runner.cjs'),
      pool: 0,
      tee: { kind: 'simulated', folder: tee },
    }),
  )
  try {
    await body()
  } finally {
    const ended = new Promise((resolve) => rogue.once('close', resolve))
    rogue.kill('SIGKILL')
    await ended
    scene.operator.trick = {}
  }
}

export async function unknownMeasurement(scene: Scene): Promise<void> {
  chapter('A worker of unknown measurement')
  say(
    'The operator changes the worker: one comment behind its last line, as harmless as a change can be. The TEE measures what it starts.',
  )
  const bundle = join(scene.folder, 'worker.mjs')
  writeFileSync(
    bundle,
    `${readFileSync(join(scene.stage.folder, 'enclaves', 'worker.mjs'), 'utf8')}// a word from the operator\n`,
  )
  const tee = join(scene.stage.folder, 'tee')
  await withRogueWorker(scene, { bundle, tee }, () => mustRefuse(scene, scene.contract, 'ERR_TEE_MEASUREMENT'))
}

export async function foreignRoot(scene: Scene): Promise<void> {
  chapter('The host’s configuration trusts another root')
  say(
    'The operator makes a root of trust of its own, lists it in the host’s configuration, and runs the right worker under it: evidence that it can forge at will.',
  )
  const tee = join(scene.folder, 'operators-own-tee')
  const create = join(root, 'enclave/tee/src/simulated/create-main.ts')
  const made = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', create, '--folder', tee], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let printed = ''
  made.stdout.on('data', (chunk) => {
    printed += chunk
  })
  await new Promise((resolve) => made.once('close', resolve))
  await restartManager(scene, JSON.parse(printed).roots)
  const bundle = join(scene.stage.folder, 'enclaves', 'worker.mjs')
  await withRogueWorker(scene, { bundle, tee }, () => mustRefuse(scene, scene.contract, 'ERR_EVIDENCE_ROOT_UNKNOWN'))
  say('The roots that count are in each owner’s signed terms. The host’s file is read by nobody who decides.')
}

/** The manager goes on with these roots in its configuration too: it offers runs to workers under them. */
async function restartManager(scene: Scene, roots: readonly unknown[]): Promise<void> {
  const path = join(scene.stage.folder, 'config', 'manager.json')
  const config = JSON.parse(readFileSync(path, 'utf8'))
  const workers = { ...config.workers, roots: [...config.workers.roots, ...roots] }
  writeFileSync(path, JSON.stringify({ ...config, workers }))
  const readManager = (): { pid: number | null; ready: boolean } =>
    JSON.parse(readFileSync(join(scene.stage.folder, 'status.json'), 'utf8')).processes.find(
      ({ name }: { name: string }) => name === 'manager',
    )
  const { pid } = readManager()
  process.kill(pid!, 'SIGTERM')
  while (readManager().pid === pid || !readManager().ready) await delay(50)
}

export async function demandReal(scene: Scene): Promise<void> {
  chapter('A simulated TEE under terms that demand a real one')
  const owner = scene.owners[1]!
  say(
    `${owner.name} publishes new terms: no simulated TEE any more. From their entry in the log on, the old terms are withdrawn.`,
  )
  const terms = (await termsInForce(owner.session))!
  await publishTerms(owner.session, { ...terms, simulated: false })
  await mustRefuse(scene, scene.contract, 'ERR_TEE_SIMULATED')
  await publishTerms(owner.session, terms)
  say('It was a rehearsal: the terms that accept the simulation are put back.')
}

export async function eleventhRun(scene: Scene): Promise<void> {
  chapter('An eleventh run')
  say(
    `Each payroll allows ${scene.runsMax} runs in all. The operator has the database, which counts nothing: the count is in the log.`,
  )
  let finished = 0
  for (let attempt = 0; attempt <= scene.runsMax + 1; attempt++) {
    const run = await runOnce(scene.author, scene.contract)
    if (run.status === 'finished') {
      finished += 1
      continue
    }
    const codes = [run.error?.code, ...(run.error?.reasons ?? [])]
    const code = ['ERR_LIMIT_RUNS', 'ERR_POLICY_USES'].find((wanted) => codes.includes(wanted))
    if (code === undefined) throw new NotRefused(`the run ended as ${run.status}: ${codes.join(', ')}`)
    say(`${finished} more runs were let through, each a use of every payroll; then:`)
    refusal(code, await reasonFor(scene, run, code))
    return
  }
  throw new NotRefused(`more than ${scene.runsMax} runs were let through`)
}

export async function droppedRevocation(
  scene: Scene,
  operatorUrl: string,
  owner: Party,
  contract: Digest,
): Promise<void> {
  chapter('A dropped revocation')
  say(
    `${owner.name} withdraws its payroll. The operator drops the message and answers as if all were well, with a proof of another entry.`,
  )
  const asset = scene.contractOptions.inputs.find((input) => input.owner === owner)!
  const { asset: found } = await findAsset(owner.session, { organisation: owner.id, series: asset.series })
  const { manifest } = found
  const keys = await owner.session.keys()
  const throughOperator = await openSession({
    home: owner.session.home,
    manager: operatorUrl,
    unlock: async () => keys,
  })
  const other = await owner.session.manager.document(manifest.digest)
  scene.operator.trick = {
    instead: ({ method, path }) =>
      method === 'POST' && path === '/v1/documents'
        ? {
            status: 201,
            body: JSON.stringify({
              digest: manifest.digest,
              index: other.index,
              leaf: other.leaf,
              proof: other.proof,
              revoked: { index: other.index, leaf: other.leaf, proof: other.proof },
            }),
          }
        : undefined,
  }
  const dropped = await revokeAsset(throughOperator, { manifest: manifest.digest, reason: 'withdrawn' }).then(
    () => undefined,
    (error: { code?: string; message: string }) => error,
  )
  scene.operator.trick = {}
  if (dropped === undefined) throw new NotRefused('the owner was told that its payroll is withdrawn, and it is not')
  if (dropped.code !== 'ERR_PROOF_INVALID')
    throw new NotRefused(`the owner's client gave another reason: ${dropped.message}`)
  refusal(dropped.code, short(dropped.message))
  say(
    'The owner’s client believes no answer without a proof for its own entry. It sends the revocation by another way, while a run is waiting in the queue:',
  )
  scene.operator.trick = noWork
  scene.operator.interrupt()
  const [started] = await startRuns(scene.author.session, contract)
  await revokeAsset(owner.session, { manifest: manifest.digest, reason: 'withdrawn' })
  scene.operator.trick = {}
  const run = await followRun(scene.author.session, { contract, run: started!.run }, () => {})
  await refused(scene, run, 'ERR_DOCUMENT_REVOKED')
}

/** What a thief or an operator would keep: everything that lies on the host. The witnesses' state is not the host's. */
const hostState = ['log', 'last-signed', 'log-signer', 'manager', 'vault', 'state.json'] as const

export function backUp(stage: Stage, folder: string): void {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  for (const name of hostState)
    cpSync(join(stage.folder, name), join(folder, name), {
      recursive: true,
      preserveTimestamps: true,
      verbatimSymlinks: true,
    })
}

export async function restoredYesterday(scene: Scene, backup: string): Promise<void> {
  chapter('Yesterday’s database and log restored')
  say(
    'The operator stops everything and puts back the database, the log, what vault and log signer had sealed: all as it was when one run had been counted.',
  )
  const today = `${backup}-today`
  mkdirSync(today, { recursive: true })
  for (const name of hostState) {
    renameSync(join(scene.stage.folder, name), join(today, name))
    renameSync(join(backup, name), join(scene.stage.folder, name))
  }
  const refused = await scene.stage.up().then(
    () => undefined,
    (error: Error) => error,
  )
  await scene.stage.down()
  if (refused === undefined) throw new NotRefused('the installation came up on yesterday’s state')
  const log = readFileSync(join(scene.stage.folder, 'logs', 'log.log'), 'utf8')
    .trimEnd()
    .split('\n')
  const [, said, code] = /^error: (.*) \((ERR_LOG_BEHIND_WITNESS)\)$/.exec(log.at(-1) ?? '') ?? []
  if (code === undefined) throw new NotRefused(`the log ended for another reason: ${log.at(-1)}`)
  refusal(code, said!)
  for (const name of hostState) {
    rmSync(join(scene.stage.folder, name), { recursive: true, force: true })
    renameSync(join(today, name), join(scene.stage.folder, name))
  }
}

/** The contract has ended by the witnesses' clocks; the host's says that it is a month ago. */
export async function clockSetBack(scene: Scene, contract: Digest, notAfter: number): Promise<void> {
  chapter('A clock set back a month')
  say(
    `A contract ended at ${new Date(notAfter * 1000).toISOString().slice(11, 19)} UTC. Manager, log and the author’s own machine now all say that it is a month ago, when it still had time to go.`,
  )
  const keys = await scene.author.session.keys()
  const session = await openSession({
    home: scene.author.session.home,
    unlock: async () => keys,
    now: () => now() - 30 * day,
  })
  await mustRefuse({ ...scene, author: { ...scene.author, session } }, contract, 'ERR_EXPIRED')
}
