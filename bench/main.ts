import { spawn } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { availableParallelism, loadavg } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { type JudgedFigure, renderFigure } from './figure.ts'

// npm run bench [-- NAME…] [-- --json] [-- --long]
//
// Runs every *.bench.ts below the zones and this folder whose path has a NAME in it, one process each. --json prints one
// object a line: {bench, value, unit, against, ratio, target, met}; met is null where something could not be measured.
// --long adds what takes a minute and more. Exit code 1 when a target was missed or a bench failed.

const root = fileURLToPath(new URL('..', import.meta.url))
const parameters = process.argv.slice(2)
const unknown = parameters.filter((one) => one.startsWith('-') && !['--json', '--long', '--help'].includes(one))
if (parameters.includes('--help') || unknown.length > 0) {
  console.error(
    `${unknown.length > 0 ? `unknown: ${unknown.join(' ')}\n` : ''}npm run bench -- [NAME…] [--json] [--long]`,
  )
  process.exit(unknown.length > 0 ? 2 : 0)
}
const isJson = parameters.includes('--json')
const isLong = parameters.includes('--long')
const names = parameters.filter((one) => !one.startsWith('-'))

const modules = ['core', 'enclave', 'host', 'client', 'bench']
  .flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.bench.ts') && !name.includes('node_modules'))
      .map((name) => `${folder}/${name}`),
  )
  .filter((path) => names.length === 0 || names.some((name) => path.includes(name)))
  .sort()
if (modules.length === 0) {
  console.error(`no bench matches ${names.join(' ')}`)
  process.exit(2)
}

const cores = availableParallelism()
const loadBefore = loadavg()[0] ?? 0
const figures: JudgedFigure[] = []
const failed: string[] = []
for (const module of modules) {
  if (!isJson) console.log(`\n${module}`)
  const code = await runOne(module)
  if (code !== 0) {
    failed.push(module)
    console.error(`${module} failed (exit code ${code})`)
  }
}
const missed = figures.filter(({ met }) => met === false)
const unmeasured = figures.filter(({ met }) => met === null)
if (!isJson) {
  const counts = [
    `${figures.length - missed.length - unmeasured.length} of ${figures.length} figures meet their target`,
    ...(missed.length > 0 ? [`missed: ${missed.map(({ bench }) => bench).join('; ')}`] : []),
    ...(unmeasured.length > 0 ? [`not measured: ${unmeasured.map(({ bench }) => bench).join('; ')}`] : []),
    ...(loadBefore > cores / 2
      ? [`other work was under way (load ${loadBefore.toFixed(1)} on ${cores} cores): wall times are too high`]
      : []),
    ...(failed.length > 0 ? [`failed: ${failed.join('; ')}`] : []),
  ]
  console.log(`\n${counts.join('\n')}`)
}
process.exitCode = missed.length > 0 || failed.length > 0 ? 1 : 0

async function runOne(module: string): Promise<number | null> {
  const child = spawn(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', join(root, 'bench/one.ts'), join(root, module)],
    { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, ...(isLong && { CELLA_LONG: '1' }) } },
  )
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve))
  for await (const line of createInterface({ input: child.stdout })) {
    if (!line.startsWith('{')) {
      if (!isJson) console.log(`    ${line}`)
      continue
    }
    const figure: JudgedFigure = JSON.parse(line)
    figures.push(figure)
    console.log(isJson ? line : renderFigure(figure))
  }
  return ended
}
