import { readFileSync } from 'node:fs'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { type Digest, decodeBase64url, encodeUtf8 } from '@cella/bytes'
import { HostClient, HostLog } from '@cella/channel'
import { ChainCache } from '@cella/evidence'
import { LogView, parseLogPolicy } from '@cella/log'
import { VerifiedEnvelopes } from '@cella/release'
import { createSandbox, type Sandbox, type SandboxJob, type SandboxResult } from '@cella/sandbox'
import { openBytes, outputInfo, unwrapDek } from '@cella/seal'
import { unpad } from '@cella/table'
import type { MemoryLog } from '@cella/testing/memory-log'
import type { Scenario, ScenarioChanges, ScenarioContents } from '@cella/testing/scenario'
import {
  type Place,
  place,
  placeWith,
  scenarioFor,
  serveVaults,
  startVault,
  teeOf,
  temporaryFolder,
  workerLaunch,
} from '@cella/testing/vaults'
import type { Member } from '@cella/testing/world'
import type { Vault } from '@cella/vault'
import { attemptRun, type Outcome, WorkerLog, type WorkerParts } from '../src/index.ts'
import { offerSchema } from '../src/messages.ts'

/** A sandbox that keeps what a program would have read, and answers what the test says. */
export interface RecordingSandbox extends Sandbox {
  readonly read: Map<string, string>
  runs: number
  answer: (job: SandboxJob) => Partial<SandboxResult>
}

export function recordingSandbox(output = 'sector,n\na,2\nb,2\n'): RecordingSandbox {
  const sandbox: RecordingSandbox = {
    read: new Map(),
    runs: 0,
    answer: () => ({ outputs: new Map([['result', encodeUtf8(output)]]) }),
    run: async (job) => {
      sandbox.runs += 1
      for (const { name, bytes } of job.inputs) {
        const parts: Uint8Array[] = []
        // Each piece is zeroed once the next is asked for.
        for await (const part of bytes) parts.push(part.slice())
        sandbox.read.set(name, Buffer.concat(parts).toString())
      }
      return {
        status: 'ok',
        outputs: new Map(),
        diagnostics: {
          stdout: encodeUtf8('stdout canary'),
          stderr: encodeUtf8('stderr canary'),
          exitCode: 0,
          trapText: null,
          fuelUsed: 1234n,
          memoryPeakPages: 3,
        },
        injectorVersion: 1,
        isolation: { level: 2, layers: [] },
        ...sandbox.answer(job),
      }
    },
    refill: () => undefined,
    close: async () => undefined,
  }
  return sandbox
}

/** The product's sandbox, its runner from source. */
export function realSandbox(context: TestContext): Sandbox {
  const sandbox = createSandbox({
    nodePath: process.execPath,
    runnerPath: fileURLToPath(new URL('../../sandbox/src/runner-main.ts', import.meta.url)),
    readablePaths: [fileURLToPath(new URL('../../..', import.meta.url))],
    poolSize: 0,
  })
  context.after(() => sandbox.close())
  return sandbox
}

export const payGap = readFileSync(new URL('../../../examples/programs/pay-gap/pay-gap.wasm', import.meta.url))

/** One installation: a vault, a worker and the parties of a scenario. */
export interface Installation {
  readonly here: Place<MemoryLog>
  readonly vault: Vault
  /** The same vault, or the one where the university keeps its keys. */
  readonly programVault: Vault
  readonly scenario: Scenario<MemoryLog>
  /** One attempt by a worker of its own. */
  attempt(options?: {
    run?: number
    attempt?: number
    sandbox?: Sandbox
    at?: (phase: string) => unknown
  }): Promise<Outcome>
}

export async function install(
  context: TestContext,
  options: {
    change?: ScenarioChanges
    contents?: ScenarioContents
    log?: MemoryLog
    vaults?: 1 | 2
    shared?: boolean
  } = {},
): Promise<Installation> {
  const here = await (options.log === undefined ? place(context) : placeWith(context, options.log))
  const vault = await startVault(here)
  const programVault = options.vaults === 2 ? await startVault(here, { folder: temporaryFolder() }) : vault
  const scenario = await scenarioFor(here, vault, options.change, options.contents, {
    programVault,
    shared: options.shared,
  })
  const { world } = scenario
  here.host.blobs = world.blobs
  await serveVaults(context, here.host, [...new Set([vault, programVault])])
  return {
    here,
    vault,
    programVault,
    scenario,
    attempt: async ({ run = 1, attempt = 1, sandbox = recordingSandbox(), at } = {}) => {
      const client = new HostClient({ origin: here.host.url })
      const hostLog = new HostLog(client)
      const policy = parseLogPolicy(encodeUtf8(here.log.policyOf()))
      const view = new LogView({ policy, read: hostLog })
      const parts: WorkerParts = {
        host: client,
        log: new WorkerLog({ view, key: policy.logs[0]!.key, host: hostLog }),
        tee: await teeOf(workerLaunch),
        sandbox,
        configuration: 'e'.repeat(64) as Digest,
        isolation: 2,
        known: new VerifiedEnvelopes(),
        chains: new ChainCache(),
      }
      const offer = offerSchema.parse({
        contract: scenario.contract.digest,
        run,
        attempt,
        lease: attempt,
        leaseSeconds: 60,
        documents: world.documents(),
        locations: world.locations,
        vaults: scenario.contract.payload.vaults,
      })
      // biome-ignore lint/suspicious/noExplicitAny: a test may do anything at a phase, and be waited for or not.
      return attemptRun(offer, parts, { served: 0, phase: ((name: string) => at?.(name)) as any })
    },
  }
}

/** An output as one of its receivers opens it. */
export async function openOutput(
  { here, scenario }: Installation,
  outcome: Outcome,
  { name, member, run = 1 }: { name: string; member: Member; run?: number },
): Promise<string> {
  const output = outcome.outputs.find((one) => one.name === name)!
  const { wrapped } = output.keys.find(({ membership }) => membership === member.membership.digest)!
  const dek = await unwrapDek({
    wrapped: decodeBase64url(wrapped, 'wrapped'),
    recipientPrivateKey: member.hpke.privateKey,
    info: outputInfo({ contract: scenario.contract.digest, run, output: name }),
  })
  const expected = receiptOf(outcome).outputs.find((one) => one.name === name)!.sealed
  const sealed = here.host.blobs.get(output.blob)!
  const outboard = here.host.blobs.get(output.outboard)!
  return Buffer.from(unpad(openBytes({ dek, sealed, outboard, expected }))).toString()
}

export function receiptOf(outcome: Outcome): import('@cella/documents').Receipt {
  const { receipt } = outcome.bundle as unknown as { receipt: { document: string } }
  const { payload } = JSON.parse(receipt.document) as { payload: string }
  return JSON.parse(Buffer.from(payload, 'base64url').toString())
}
