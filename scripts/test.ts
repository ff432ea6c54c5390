import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

// Runs every *.test.ts of the project. `--long` also runs what takes minutes (CELLA_LONG=1); names of files or folders
// after it narrow the run.

const root = fileURLToPath(new URL('..', import.meta.url))
const parameters = process.argv.slice(2)
const isLong = parameters.includes('--long')
const wanted = parameters.filter((parameter) => parameter !== '--long')

const files = ['core', 'enclave', 'host', 'client', 'testing', 'scripts', 'examples', 'test']
  .flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.test.ts') && !name.includes('node_modules') && !/(?:^|\/)dist\//.test(name))
      .map((name) => `${folder}/${name}`),
  )
  .filter((file) => wanted.length === 0 || wanted.some((part) => file.startsWith(part)))
  .sort()
if (files.length === 0) {
  console.error(`no test files match ${wanted.join(' ')}`)
  process.exit(2)
}

// End-to-end tests start the enclaves that a user would start.
const built = spawnSync(
  process.execPath,
  ['--disable-warning=ExperimentalWarning', join(root, 'scripts/build-enclave.ts')],
  {
    cwd: root,
    stdio: ['ignore', 'ignore', 'inherit'],
  },
)
if (built.status !== 0) process.exit(1)

// What one process compiled, the next ones need not: the tests start some thousand. Enclaves start without it.
const NODE_COMPILE_CACHE = join(root, 'node_modules/.cache/cella/compiled')
const { status } = spawnSync(
  process.execPath,
  ['--disable-warning=ExperimentalWarning', '--test', '--test-concurrency=2', '--test-timeout=300000', ...files],
  { cwd: root, stdio: 'inherit', env: { ...process.env, NODE_COMPILE_CACHE, ...(isLong && { CELLA_LONG: '1' }) } },
)
process.exit(status ?? 1)
