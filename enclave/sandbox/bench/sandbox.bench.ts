import { spawn } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Figure } from '@cella/testing'
import { build } from 'esbuild'
import { createSandbox, type Sandbox } from '../src/index.ts'

const rounds = 5
const small = { fuel: 1e9, memoryPages: 64, callDepth: 1000, wallMs: 60_000, diagnosticsBytesMax: 4096 }

/** What metering costs a table program, and what a runner that was ready saves a small one. */
export async function bench(report: (figure: Figure) => void): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'cella-bench-'))
  try {
    await metering(folder, report)
    await starting(folder, report)
  } finally {
    await rm(folder, { recursive: true })
  }
}

/**
 * pay-gap over 32 MiB of CSV, metered and not, alternating, in a process that compiles as batch runners do: the host
 * around is the same WASI for both, so that the ratio is that of the module alone.
 */
async function metering(folder: string, report: (figure: Figure) => void): Promise<void> {
  const seconds = await inBatchProcess(folder)
  const ratios = seconds.map(({ metered, plain }) => metered / plain)
  const ratio = median(ratios)
  report({
    bench: 'metered program: pay-gap over 32 MiB of CSV',
    value: median(seconds.map(({ metered }) => metered)),
    unit: 'ms',
    against: 'the same module unmetered',
    ratio,
    target: 1.25,
    met: ratio <= 1.25,
  })
}

async function inBatchProcess(folder: string): Promise<{ metered: number; plain: number }[]> {
  const script = join(folder, 'metering.cjs')
  await build({
    entryPoints: [fileURLToPath(new URL('./metering.ts', import.meta.url))],
    outfile: script,
    bundle: true,
    format: 'cjs',
    platform: 'node',
    logLevel: 'error',
  })
  const program = fileURLToPath(new URL('../../../examples/programs/pay-gap/pay-gap.wasm', import.meta.url))
  const args = ['--no-liftoff', '--disable-warning=ExperimentalWarning', script, program, String(rounds)]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  let text = ''
  for await (const piece of child.stdout) text += piece
  return JSON.parse(text)
}

async function starting(folder: string, report: (figure: Figure) => void): Promise<void> {
  const runnerPath = join(folder, 'runner.cjs')
  await build({
    entryPoints: [fileURLToPath(new URL('../src/runner-main.ts', import.meta.url))],
    outfile: runnerPath,
    bundle: true,
    format: 'cjs',
    platform: 'node',
    logLevel: 'error',
  })
  const module = await readFile(new URL('../../../examples/programs/empty/empty.wasm', import.meta.url))
  const ready = createSandbox({ nodePath: process.execPath, runnerPath, poolSize: 1 })
  const cold = createSandbox({ nodePath: process.execPath, runnerPath, poolSize: 0 })
  const warmMs: number[] = []
  const coldMs: number[] = []
  for (let round = 0; round < rounds; round++) {
    ready.refill()
    // Long enough for it to be ready.
    await new Promise((resolve) => setTimeout(resolve, 250))
    warmMs.push(await timeOf(ready, module))
    coldMs.push(await timeOf(cold, module))
  }
  await Promise.all([ready.close(), cold.close()])
  const ratio = median(warmMs) / median(coldMs)
  report({
    bench: 'small program on a runner that was ready',
    value: median(warmMs),
    unit: 'ms',
    against: `a runner started for it (${median(coldMs).toFixed(0)} ms)`,
    ratio,
    target: 0.25,
    met: ratio <= 0.25,
  })
}

async function timeOf(sandbox: Sandbox, module: Uint8Array): Promise<number> {
  const start = performance.now()
  const { status } = await sandbox.run({
    module,
    args: [],
    seed: new Uint8Array(32),
    inputs: [],
    outputs: [{ name: 'result', bytesMax: 10 }],
    budgets: small,
  })
  if (status !== 'ok') throw new Error(`the empty program ended with ${status}`)
  return performance.now() - start
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!
}
