import { execFile } from 'node:child_process'
import { copyFile, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { build } from 'esbuild'
import { buildPage } from './build-page.ts'

// Makes what is published: `@cella/sdk` and `@cella/cli` as JavaScript with declarations, each a folder that `npm pack` turns
// into a tarball. Packages of ours and of others are bundled in, so that nothing can be swapped below them; what is left as
// a dependency is only what types refer to, and the Node 26 that the command needs.

const root = fileURLToPath(new URL('..', import.meta.url))
const run = promisify(execFile)

export interface BuiltPackages {
  /** Tarballs. */
  readonly sdk: string
  readonly cli: string
}

/** Builds both packages below `outFolder` and packs them. */
export async function buildPackages(outFolder: string): Promise<BuiltPackages> {
  await rm(outFolder, { recursive: true, force: true })
  const own = await readManifest('package.json')
  const sdk = join(outFolder, 'sdk')
  const cli = join(outFolder, 'cli')
  await bundle('client/sdk/src/index.ts', join(sdk, 'dist/index.js'))
  await bundle('client/tables/src/parquet-worker.ts', join(sdk, 'dist/parquet-worker.js'))
  await declarations(join(sdk, 'dist/types'))
  const common = { version: own.version, license: own.license, type: 'module', repository: own.repository }
  await writeManifest(sdk, {
    name: '@cella/sdk',
    description: 'Publish under a policy, stitch, run in a TEE, verify: the client of Cella.',
    ...common,
    engines: { node: '>=26' },
    exports: { '.': { types: './dist/types/client/sdk/src/index.d.ts', default: './dist/index.js' } },
    files: ['dist'],
    dependencies: { zod: (await readManifest('client/sdk/package.json')).dependencies!.zod },
  })
  await buildCommand(cli)
  await writeManifest(cli, {
    name: '@cella/cli',
    description: 'The command cella: confidential computing for owners and receivers of data.',
    ...common,
    engines: { node: '>=20.19' },
    bin: { cella: 'bin/cella.js' },
    files: ['bin', 'dist'],
    optionalDependencies: own.optionalDependencies,
  })
  for (const [folder, source] of [
    [sdk, 'client/sdk'],
    [cli, 'client/cli'],
  ] as const) {
    await copyFile(join(root, source, 'README.md'), join(folder, 'README.md'))
    await copyFile(join(root, 'LICENSE'), join(folder, 'LICENSE'))
  }
  await copyPolicyEngine(join(sdk, 'dist'))
  return { sdk: await pack(sdk, outFolder), cli: await pack(cli, outFolder) }
}

/** Builds what the command `cella` runs, all of it below `folder`; it is started by `bin/cella.js`. */
export async function buildCommand(folder: string): Promise<void> {
  await bundle('client/cli/src/main.ts', join(folder, 'dist/main.js'))
  await bundle('client/tables/src/parquet-worker.ts', join(folder, 'dist/parquet-worker.js'))
  await copyPolicyEngine(join(folder, 'dist'))
  await buildPage(join(folder, 'dist/verify.html'))
  await mkdir(join(folder, 'bin'), { recursive: true })
  await copyFile(join(root, 'client/cli/bin/cella.js'), join(folder, 'bin/cella.js'))
}

async function copyPolicyEngine(folder: string): Promise<void> {
  const engine = 'node_modules/@cedar-policy/cedar-wasm/web/cedar_wasm_bg.wasm'
  await copyFile(join(root, engine), join(folder, 'cedar_wasm_bg.wasm'))
}

/** Entries of threads are bundles of their own, beside the one that starts them. */
async function bundle(entry: string, outfile: string): Promise<void> {
  await build({
    entryPoints: [join(root, entry)],
    outfile,
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node26',
    charset: 'utf8',
    legalComments: 'eof',
    logLevel: 'error',
    // Some bundled packages are CommonJS and ask for Node's own modules by `require`.
    banner: {
      js: "import { createRequire as cellaRequire } from 'node:module'; const require = cellaRequire(import.meta.url);",
    },
  })
}

/** Declarations of the SDK and of every package of ours that it shows, referring to each other by path. */
async function declarations(outFolder: string): Promise<void> {
  await mkdir(outFolder, { recursive: true })
  const config = join(outFolder, 'tsconfig.json')
  const entries = await ownEntries()
  await writeFile(
    config,
    JSON.stringify({
      extends: join(root, 'tsconfig.json'),
      compilerOptions: {
        noEmit: false,
        declaration: true,
        emitDeclarationOnly: true,
        rootDir: root,
        outDir: outFolder,
        typeRoots: [join(root, 'node_modules/@types')],
        // Found below node_modules they would count as somebody else's, for whom nothing is emitted.
        paths: Object.fromEntries(
          [...entries].map(([name, entry]) => [name, [join(root, entry.replace(/js$/, 'ts'))]]),
        ),
      },
      include: [],
      files: [join(root, 'client/sdk/src/index.ts')],
    }),
  )
  await run(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', config]).catch((error) => {
    throw new Error(`declarations: ${error.stdout || error.message}`)
  })
  await rm(config)
  // Declarations of others that ours mention. They are bundled like their code, so that users need not install them.
  for (const [specifier, source] of Object.entries(bundledDeclarations)) {
    const target = join(outFolder, 'external', `${externalName(specifier)}.d.ts`)
    await mkdir(dirname(target), { recursive: true })
    await copyFile(join(root, 'node_modules', source), target)
    entries.set(specifier, join('external', `${externalName(specifier)}.js`))
  }
  for (const name of await readdir(outFolder, { recursive: true })) {
    if (!name.endsWith('.d.ts')) continue
    const file = join(outFolder, name)
    const text = await readFile(file, 'utf8')
    const rewritten = text
      .replaceAll(/((?:from|import\() ?['"])(\.[^'"]*)\.ts(['"])/g, '$1$2.js$3')
      .replaceAll(
        /((?:from|import\() ?['"])(@cella\/[a-z-]+|hpke|@cedar-policy\/cedar-wasm\/web)(['"])/g,
        (_, before: string, own: string, after: string) => {
          const target = relative(dirname(file), join(outFolder, entries.get(own)!)).replaceAll('\\', '/')
          return `${before}${target.startsWith('.') ? target : `./${target}`}${after}`
        },
      )
    await writeFile(file, rewritten)
  }
}

const bundledDeclarations: Readonly<Record<string, string>> = {
  hpke: 'hpke/index.d.ts',
  '@cedar-policy/cedar-wasm/web': '@cedar-policy/cedar-wasm/web/cedar_wasm.d.ts',
}

function externalName(specifier: string): string {
  return specifier.replaceAll(/[^a-z]+/g, '-').replace(/^-/, '')
}

/** Where the declarations of each of our packages begin, by name. */
async function ownEntries(): Promise<Map<string, string>> {
  const entries = new Map<string, string>()
  for (const zone of ['core', 'client']) {
    for (const folder of await readdir(join(root, zone))) {
      const manifest = await readManifest(join(zone, folder, 'package.json')).catch(() => undefined)
      if (manifest !== undefined) entries.set(manifest.name, join(zone, folder, 'src/index.js'))
    }
  }
  return entries
}

interface Manifest {
  readonly name: string
  readonly version: string
  readonly license: string
  readonly repository?: unknown
  readonly dependencies?: Record<string, string>
  readonly optionalDependencies?: Record<string, string>
}

async function readManifest(path: string): Promise<Manifest> {
  return JSON.parse(await readFile(join(root, path), 'utf8'))
}

async function writeManifest(folder: string, manifest: object): Promise<void> {
  await writeFile(join(folder, 'package.json'), `${JSON.stringify(manifest, undefined, 2)}\n`)
}

async function pack(folder: string, outFolder: string): Promise<string> {
  const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm'
  const { stdout } = await run(npm, ['pack', folder, '--pack-destination', outFolder, '--json', '--ignore-scripts'])
  // npm before and after 12 answer with a list or with an object.
  const answer = JSON.parse(stdout.slice(stdout.search(/[[{]/))) as
    | { filename: string }[]
    | Record<string, { filename: string }>
  const [packed] = Array.isArray(answer) ? answer : Object.values(answer)
  return join(outFolder, packed!.filename)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const built = await buildPackages(join(root, 'dist/packages'))
  process.stdout.write(`${built.sdk}\n${built.cli}\n`)
}
