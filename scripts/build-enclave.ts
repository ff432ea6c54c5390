import { hash } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { canonicalJson, type Digest, encodeBase64url, encodeHex } from '@cella/bytes'
import { enclaveOptions, enclaveSettings } from '@cella/channel'
import { type Payload, signDocument } from '@cella/documents'
import { ed25519PublicKey, type KeyId, keyIdOf, randomBytes } from '@cella/primitives'
import { simulatedMeasurementHex, simulatedMrEnclave, simulatedTees } from '@cella/tee'
import { build, type Plugin } from 'esbuild'

// Bundles each enclave into one file, the same bytes in any folder, and signs a Build document for each of its own: what
// was made of what, and the measurement that it has in each TEE. The signer is this installation's own builder; whoever
// trusts it can build again and compare.

const root = fileURLToPath(new URL('..', import.meta.url))

export interface EnclaveBundle {
  readonly role: 'vault' | 'worker' | 'runner' | 'attest' | 'log-signer'
  readonly file: string
  readonly digest: Digest
  /** Third-party packages inside with their versions, sorted. */
  readonly packages: Record<string, string>
}

/** Bundles vault, worker, runner, attestation service and log signer into `outFolder`. */
export async function buildEnclaves(outFolder: string): Promise<EnclaveBundle[]> {
  await mkdir(outFolder, { recursive: true })
  const runner = await bundle('runner', 'enclave/sandbox/src/runner-main.ts', outFolder, {})
  // The worker knows its runner by digest and starts no other.
  const worker = await bundle('worker', 'enclave/worker/src/main.ts', outFolder, {
    CELLA_RUNNER_DIGEST: JSON.stringify(runner.digest),
  })
  const vault = await bundle('vault', 'enclave/vault/src/main.ts', outFolder, {})
  const attest = await bundle('attest', 'enclave/attest/src/main.ts', outFolder, {})
  const signer = await bundle('log-signer', 'enclave/log-signer/src/main.ts', outFolder, {})
  return [vault, worker, runner, attest, signer]
}

async function bundle(
  role: EnclaveBundle['role'],
  entry: string,
  outFolder: string,
  define: Record<string, string>,
): Promise<EnclaveBundle> {
  // A runner is started for every run: Node reads CommonJS without the machinery of its other loader.
  const format = role === 'runner' ? 'cjs' : 'esm'
  const file = `${role}.${format === 'cjs' ? 'cjs' : 'mjs'}`
  const result = await build({
    entryPoints: [entry],
    absWorkingDir: root,
    outfile: join(outFolder, file),
    bundle: true,
    format,
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
  const packages: Record<string, string> = {}
  // What was looked at and left out is not inside.
  const inside = Object.values(result.metafile.outputs).flatMap(({ inputs }) =>
    Object.entries(inputs).flatMap(([input, { bytesInOutput }]) => (bytesInOutput > 0 ? [input] : [])),
  )
  for (const input of inside.sort()) {
    const name = /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(input)?.[1]
    if (name !== undefined && !(name in packages)) packages[name] = await versionOf(name)
  }
  return { role, file, digest: digestOfFile(await readFile(join(outFolder, file))), packages }
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

async function versionOf(name: string): Promise<string> {
  const manifest = JSON.parse(await readFile(join(root, 'node_modules', name, 'package.json'), 'utf8'))
  return String(manifest.version)
}

function digestOfFile(bytes: Uint8Array): Digest {
  return hash('sha256', bytes, 'hex') as Digest
}

/** Files that the supervisor publishes and that organisations name in their terms. */
export interface SignedBuilds {
  /** Organisation document of the builder. */
  readonly organisation: string
  readonly builds: {
    readonly vault: string
    readonly worker: string
    readonly attestationService: string
    readonly logSigner: string
  }
}

/** Signs what `buildEnclaves` made. The builder's key is made at the first call and stays in `outFolder`. */
export async function signBuilds(outFolder: string, bundles: readonly EnclaveBundle[]): Promise<SignedBuilds> {
  const seed = await builderSeed(join(outFolder, 'builder.key'))
  const signer = keyIdOf(ed25519PublicKey(seed))
  const organisation = await signDocument<'cella/organisation'>(builder(seed, signer), [seed])
  const node = {
    release: process.version,
    platform: `${process.platform}-${process.arch}`,
    digest: digestOfFile(await readFile(process.execPath)),
  }
  const byRole = (role: EnclaveBundle['role']) => bundles.find((one) => one.role === role)!
  const signed = async (role: Payload<'cella/build'>['role'], parts: EnclaveBundle[]): Promise<string> => {
    const payload = buildOf(role, parts, { organisation: organisation.digest, signer, node, release: await release() })
    return (await signDocument<'cella/build'>(payload, [seed])).envelope
  }
  const builds = {
    vault: await signed('vault', [byRole('vault')]),
    worker: await signed('worker', [byRole('worker'), byRole('runner')]),
    attestationService: await signed('attestation-service', [byRole('attest')]),
    logSigner: await signed('log-signer', [byRole('log-signer')]),
  }
  const all: SignedBuilds = { organisation: organisation.envelope, builds }
  await writeFile(
    join(outFolder, 'builds.json'),
    `${JSON.stringify({ ...all, bundles, options: enclaveOptions, settings: enclaveSettings }, null, 2)}\n`,
  )
  return all
}

function builder(seed: Uint8Array, signer: KeyId): Payload<'cella/organisation'> {
  return {
    type: 'cella/organisation',
    version: 1,
    organisation: null,
    signer,
    cosigners: [],
    revision: 1,
    previous: null,
    name: 'Builder of this installation',
    rootKeys: [encodeBase64url(ed25519PublicKey(seed))],
    threshold: 1,
    recoveryKeys: [],
    recoveryThreshold: 0,
  }
}

function buildOf(
  role: Payload<'cella/build'>['role'],
  parts: readonly EnclaveBundle[],
  {
    organisation,
    signer,
    node,
    release,
  }: {
    organisation: Digest
    signer: KeyId
    node: Payload<'cella/build'>['node']
    release: string
  },
): Payload<'cella/build'> {
  const [entry] = parts
  const launch = { nodeDigest: node.digest, bundleDigest: entry!.digest, commandLine: enclaveOptions }
  const packages = Object.assign({}, ...parts.map((part) => part.packages)) as Record<string, string>
  return {
    type: 'cella/build',
    version: 1,
    organisation,
    signer,
    cosigners: [],
    role,
    release,
    files: parts.map(({ file, digest }) => ({ name: file, digest })),
    node,
    arguments: [...enclaveOptions],
    measurements: simulatedTees.map((tee) => ({
      tee,
      boundary: tee === 'sgx' ? 'process' : 'vm',
      simulated: true,
      measurement: tee === 'sgx' ? encodeHex(simulatedMrEnclave(launch)) : simulatedMeasurementHex(launch),
    })),
    // What is inside, by name and version: canonical JSON, so that its digest says the same everywhere.
    sbom: digestOfFile(Buffer.from(canonicalJson(packages))),
    reproduce:
      'npm ci && npm run build:enclave, then compare the digests of files with those in dist/enclave/builds.json',
  }
}

async function release(): Promise<string> {
  return String(JSON.parse(await readFile(join(root, 'package.json'), 'utf8')).version)
}

async function builderSeed(path: string): Promise<Uint8Array> {
  try {
    return await readFile(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    const seed = randomBytes(32)
    await writeFile(path, seed, { mode: 0o600, flag: 'wx' })
    return seed
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const outFolder = join(root, 'dist/enclave')
  const bundles = await buildEnclaves(outFolder)
  await signBuilds(outFolder, bundles)
  for (const { file, digest, packages } of bundles) {
    console.log(`${digest}  ${file}  (${Object.keys(packages).join(', ')})`)
  }
}
