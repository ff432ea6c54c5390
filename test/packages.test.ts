import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { copyFile, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { type BuiltPackages, buildPackages } from '../scripts/build-packages.ts'

// What is published, as a stranger gets it: tarballs installed in an empty folder.

const root = fileURLToPath(new URL('..', import.meta.url))
const run = promisify(execFile)
const receipt = join(root, 'core/receipt/testdata/run.cella-receipt')

let folder: string
let built: BuiltPackages
const at = (name: string): string => join(folder, name)

/** A Node of the system that is older than the one that comes along, or undefined. */
async function olderNode(): Promise<string | undefined> {
  for (const place of (process.env.PATH ?? '').split(delimiter)) {
    const node = join(place, 'node')
    if (place.includes('node_modules') || !existsSync(node)) continue
    const { stdout } = await run(node, ['--version']).catch(() => ({ stdout: '' }))
    const major = Number(/^v(\d+)\./.exec(stdout)?.[1] ?? 0)
    if (major >= 20 && major < 26) return node
  }
  return undefined
}

async function install(name: string, parameters: readonly string[]): Promise<string> {
  const target = at(name)
  await mkdir(target)
  await writeFile(join(target, 'package.json'), '{"private":true,"type":"module"}\n')
  await run('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund', ...parameters], { cwd: target })
  return target
}

interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

async function cella(node: string, target: string, args: readonly string[]): Promise<Ended> {
  const command = join(target, 'node_modules/.bin/cella')
  try {
    return {
      code: 0,
      ...(await run(node, [command, '--home', at('home'), ...args], { env: { PATH: '/usr/bin:/bin' } })),
    }
  } catch (error) {
    const { code, stdout, stderr } = error as Ended
    return { code, stdout, stderr }
  }
}

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cella-packages-'))
  built = await buildPackages(at('packages'))
  const profile = at('home/profiles/default')
  await mkdir(profile, { recursive: true, mode: 0o700 })
  await copyFile(join(root, 'core/receipt/testdata/anchors.json'), join(profile, 'anchors.json'))
})

after(() => rm(folder, { recursive: true, force: true }))

test('the tarballs hold JavaScript and declarations, and no source or dependency of ours', async () => {
  for (const name of ['sdk', 'cli']) {
    const files = await readdir(at(`packages/${name}`), { recursive: true })
    assert.ok(files.some((file) => file.endsWith('.js')))
    assert.deepEqual(
      files.filter((file) => file.endsWith('.ts') && !file.endsWith('.d.ts')),
      [],
    )
  }
})

test('`cella verify FILE` runs under the system’s older Node, by the Node that came along', async (context) => {
  const node = await olderNode()
  if (node === undefined) return context.skip('there is no Node 20 to 25 on PATH')
  const target = await install('with-node', [built.cli])
  const verified = await cella(node, target, ['verify', receipt, '--json'])
  assert.equal(verified.code, 0, verified.stderr)
  assert.equal(JSON.parse(verified.stdout).outcome, 'proved')
  const up = await cella(node, target, ['up'])
  assert.equal(up.code, 3)
  assert.match(up.stderr, /ERR_SERVER_NOT_INSTALLED\)\nhint: /)
})

test('without it, the launcher says how to get it', async (context) => {
  const node = await olderNode()
  if (node === undefined) return context.skip('there is no Node 20 to 25 on PATH')
  const target = await install('without-node', ['--omit=optional', built.cli])
  const refused = await cella(node, target, ['verify', receipt])
  assert.equal(refused.code, 3)
  assert.match(refused.stderr, /^error: cella runs on Node 26.*\nhint: run npm install again without --omit=optional/)
})

test('the built command reads Parquet, in the thread whose entry lies beside it, and brings the page along', async () => {
  const table = join(root, 'client/tables/testdata/staff.parquet')
  const main = at('packages/cli/dist/main.js')
  const { stdout } = await run(process.execPath, [main, '--home', at('home'), 'inspect', table, '--json'])
  assert.equal(JSON.parse(stdout).rows, 3)
  assert.ok(existsSync(at('packages/sdk/dist/parquet-worker.js')))
  await run(process.execPath, [main, '--home', at('home'), 'verify', '--page', at('verify.html')])
  assert.match(readFileSync(at('verify.html'), 'utf8'), /^<!doctype html>/)
})

test('the SDK is imported with its types, and judges a receipt', async () => {
  const target = await install('sdk', [built.sdk])
  await writeFile(
    join(target, 'use.ts'),
    `import { readFileSync } from 'node:fs'
import { openHome, type PublishOptions, verifyFile } from '@cella/sdk'
const home = await openHome({ folder: ${JSON.stringify(at('home'))} })
const { verdict } = await verifyFile(new Uint8Array(readFileSync(${JSON.stringify(receipt)})), {
  anchors: await home.anchors(),
  now: 4_102_444_800,
})
const outcome: 'proved' | 'disproved' | 'cannot-tell' = verdict.outcome
// @ts-expect-error a title is a text: were the types lost, anything would do
const title: PublishOptions['title'] = 1
console.log(outcome, typeof title)
`,
  )
  await writeFile(
    join(target, 'tsconfig.json'),
    JSON.stringify({
      extends: join(root, 'tsconfig.json'),
      compilerOptions: {
        noEmit: true,
        skipLibCheck: false,
        typeRoots: [join(root, 'node_modules/@types')],
        declaration: false,
      },
      include: ['use.ts'],
    }),
  )
  const tsc = join(root, 'node_modules/typescript/bin/tsc')
  await run(process.execPath, [tsc, '-p', join(target, 'tsconfig.json')], { cwd: target }).catch((error) => {
    throw new Error(error.stdout)
  })
  const { stdout } = await run(process.execPath, ['--disable-warning=ExperimentalWarning', 'use.ts'], { cwd: target })
  assert.match(stdout, /^proved/)
})
