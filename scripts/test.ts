import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { run } from 'node:test'
import { spec } from 'node:test/reporters'
import { fileURLToPath } from 'node:url'
import { buildCommand } from './build-packages.ts'

// Runs every *.test.ts of the project. `--long` also runs what takes minutes (CELLA_LONG=1); names of files or folders
// after it narrow the run.

const root = fileURLToPath(new URL('..', import.meta.url))
const parameters = process.argv.slice(2)
const isLong = parameters.includes('--long')
const wanted = parameters.filter((parameter) => parameter !== '--long')

// What starts processes of its own takes longest and waits most: first, so that short tests fill its waits to the end.
const files = ['test', 'host', 'client', 'enclave', 'core', 'testing', 'scripts', 'examples']
  .flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.test.ts') && !name.includes('node_modules') && !/(?:^|\/)dist\//.test(name))
      .sort()
      .map((name) => `${folder}/${name}`),
  )
  .filter((file) => wanted.length === 0 || wanted.some((part) => file.startsWith(part)))
if (files.length === 0) {
  console.error(`no test files match ${wanted.join(' ')}`)
  process.exit(2)
}

// End-to-end tests start the enclaves and the command that a user would start.
const built = spawnSync(
  process.execPath,
  ['--disable-warning=ExperimentalWarning', join(root, 'scripts/build-enclave.ts')],
  {
    cwd: root,
    stdio: ['ignore', 'ignore', 'inherit'],
  },
)
if (built.status !== 0) process.exit(1)
await buildCommand(join(root, 'dist/command-line'))

// What one process compiled, the next ones need not: the tests start some thousand. Enclaves start without it.
process.env.NODE_COMPILE_CACHE = join(root, 'node_modules/.cache/cella/compiled')
if (isLong) process.env.CELLA_LONG = '1'

const tests = run({
  cwd: root,
  files: files.map((file) => join(root, file)),
  // Half of what runs waits: for a disk, a child, a clock.
  concurrency: availableParallelism() + 2,
  timeout: 300_000,
  // Optimized WebAssembly would come when a test has ended, and most of what a test allocates is gone before it does.
  execArgv: ['--disable-warning=ExperimentalWarning', '--wasm-tiering-budget=2000000000', '--min-semi-space-size=16'],
})
tests.on('test:fail', ({ todo }) => {
  if (todo === undefined || todo === false) process.exitCode = 1
})
tests.compose(spec).pipe(process.stdout)
