import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after } from 'node:test'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import wabt from 'wabt'
import { type Budgets, createSandbox, type Sandbox, type SandboxInput, type SandboxResult, type Tier } from './index.ts'

const tools = await wabt()

/** The module that a text in WAT form stands for. */
export function assemble(text: string): Uint8Array {
  const parsed = tools.parseWat('test.wat', text, {
    simd: true,
    bulk_memory: true,
    reference_types: true,
    multi_value: true,
  })
  const { buffer } = parsed.toBinary({})
  parsed.destroy()
  return buffer
}

/** One of the modules committed under examples/programs. */
export function exampleProgram(name: string): Uint8Array {
  return readFileSync(new URL(`../../../examples/programs/${name}/${name}.wasm`, import.meta.url))
}

/** A sandbox whose runner is bundled into one file, as enclaves have it: that file is all it may read. */
export async function bundledSandbox(poolSize = 1): Promise<Sandbox> {
  const folder = mkdtempSync(join(tmpdir(), 'cella-runner-'))
  const runnerPath = join(folder, 'runner.cjs')
  await build({
    entryPoints: [fileURLToPath(new URL('runner-main.ts', import.meta.url))],
    outfile: runnerPath,
    bundle: true,
    format: 'cjs',
    platform: 'node',
    logLevel: 'error',
  })
  const sandbox = createSandbox({ nodePath: process.execPath, runnerPath, poolSize })
  after(async () => {
    await sandbox.close()
    rmSync(folder, { recursive: true })
  })
  return sandbox
}

const budgets: Budgets = {
  fuel: 200_000_000,
  memoryPages: 64,
  callDepth: 1000,
  wallMs: 20_000,
  diagnosticsBytesMax: 4096,
}

export interface Trial {
  readonly module: Uint8Array
  readonly args?: readonly string[]
  readonly inputs?: Readonly<Record<string, string | Uint8Array>>
  readonly outputs?: Readonly<Record<string, number>>
  readonly budgets?: Partial<Budgets>
  readonly seed?: number
  readonly tier?: Tier
  /** How the inputs are cut. */
  readonly pieceLength?: number
}

export function trial(sandbox: Sandbox, it: Trial): Promise<SandboxResult> {
  return sandbox.run({
    module: it.module,
    args: it.args ?? [],
    seed: new Uint8Array(32).fill(it.seed ?? 0),
    inputs: Object.entries(it.inputs ?? {}).map(([name, content]) => inputOf(name, content, it.pieceLength)),
    outputs: Object.entries(it.outputs ?? { result: 4096 }).map(([name, bytesMax]) => ({ name, bytesMax })),
    budgets: { ...budgets, ...it.budgets },
    ...(it.tier === undefined ? {} : { tier: it.tier }),
  })
}

export function inputOf(name: string, content: string | Uint8Array, pieceLength = 1 << 20): SandboxInput {
  const bytes = typeof content === 'string' ? new TextEncoder().encode(content) : content
  return { name, length: bytes.length, bytes: pieces(bytes, pieceLength) }
}

async function* pieces(bytes: Uint8Array, length: number): AsyncGenerator<Uint8Array> {
  for (let start = 0; start < bytes.length; start += length) yield bytes.subarray(start, start + length)
}

export function text(bytes: Uint8Array | undefined): string {
  return new TextDecoder().decode(bytes)
}

/** A WASI command around `body`; `extra` goes beside the function. Memory is exported, one page unless said. */
export function command(body: string, extra = '', memory = '(memory (export "memory") 1)'): Uint8Array {
  return assemble(`(module ${extra} ${memory} (func (export "_start") ${body}))`)
}
