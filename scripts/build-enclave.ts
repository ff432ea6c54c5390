import { hash } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build, type Plugin } from 'esbuild'

// Bundles each enclave into one file, the same bytes in any folder, and writes down what was made of what.

const root = fileURLToPath(new URL('..', import.meta.url))

/** The fixed options before a bundle's path; enclave/channel/src/launch.ts refuses any other. */
export interface EnclaveBundle {
  readonly role: 'vault' | 'worker' | 'runner'
  readonly file: string
  readonly digest: string
  /** Third-party packages inside, sorted. */
  readonly packages: readonly string[]
}

/** Bundles vault, worker and runner into `outFolder`. */
export async function buildEnclaves(outFolder: string): Promise<EnclaveBundle[]> {
  await mkdir(outFolder, { recursive: true })
  const runner = await bundle('runner', 'enclave/sandbox/src/runner-main.ts', outFolder, {})
  // The worker knows its runner by digest and starts no other.
  const worker = await bundle('worker', 'enclave/worker/src/main.ts', outFolder, {
    CELLA_RUNNER_DIGEST: JSON.stringify(runner.digest),
  })
  const vault = await bundle('vault', 'enclave/vault/src/main.ts', outFolder, {})
  const bundles = [vault, worker, runner]
  await writeFile(join(outFolder, 'bundles.json'), `${JSON.stringify(bundles, null, 2)}\n`)
  return bundles
}

async function bundle(
  role: EnclaveBundle['role'],
  entry: string,
  outFolder: string,
  define: Record<string, string>,
): Promise<EnclaveBundle> {
  const file = `${role}.mjs`
  const result = await build({
    entryPoints: [entry],
    absWorkingDir: root,
    outfile: join(outFolder, file),
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node26',
    loader: { '.wasm': 'binary' },
    define,
    metafile: true,
    legalComments: 'none',
    charset: 'utf8',
    logLevel: 'error',
    plugins: [wasmByPath],
  })
  const digest = hash('sha256', await readFile(join(outFolder, file)), 'hex')
  const packages = new Set<string>()
  for (const input of Object.keys(result.metafile.inputs)) {
    const name = /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(input)?.[1]
    if (name !== undefined) packages.add(name)
  }
  return { role, file, digest, packages: [...packages].sort() }
}

// Packages that don't list their .wasm under "exports" can still be bundled by the file's own path.
const wasmByPath: Plugin = {
  name: 'wasm-by-path',
  setup({ onResolve }) {
    onResolve({ filter: /\.wasm$/ }, ({ path }) =>
      path.startsWith('.') || path.startsWith('/') ? undefined : { path: join(root, 'node_modules', path) },
    )
  },
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const bundles = await buildEnclaves(join(root, 'dist/enclave'))
  for (const { file, digest, packages } of bundles) console.log(`${digest}  ${file}  (${packages.join(', ')})`)
}
