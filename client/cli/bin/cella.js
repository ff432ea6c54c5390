#!/usr/bin/env node
// Plain JavaScript for any Node from 20.19 on: starts the Node 26 that was installed together with this package and hands
// it everything. Nothing is decided here.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const wanted = 26
const here = dirname(fileURLToPath(import.meta.url))
const built = join(here, '..', 'dist', 'main.js')
const main = existsSync(built) ? built : join(here, '..', 'src', 'main.ts')

function findNode() {
  if (Number(process.versions.node.split('.')[0]) >= wanted) return process.execPath
  const require = createRequire(import.meta.url)
  const platform = `${process.platform === 'win32' ? 'win' : process.platform}-${process.arch}`
  for (const name of [`node-${platform}`, `node-bin-${platform}`]) {
    try {
      const folder = dirname(require.resolve(`${name}/package.json`))
      const binary = join(folder, 'bin', process.platform === 'win32' ? 'node.exe' : 'node')
      if (existsSync(binary)) return binary
    } catch {
      // The next name, or none: said below.
    }
  }
  return undefined
}

const node = findNode()
if (node === undefined) {
  process.stderr.write(
    `error: cella runs on Node ${wanted}, this is Node ${process.versions.node}, and the package that brings Node ${wanted} for ${process.platform}-${process.arch} is not installed\n` +
      `hint: run npm install again without --omit=optional, or install Node ${wanted} from nodejs.org\n`,
  )
  process.exit(3)
}

const child = spawn(node, ['--disable-warning=ExperimentalWarning', main, ...process.argv.slice(2)], {
  // Descriptors above 2 are handed on too: a passphrase may come on one.
  stdio: ['inherit', 'inherit', 'inherit', ...inheritedDescriptors()],
})
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
child.on('error', (error) => {
  process.stderr.write(`error: ${node} can't be started: ${error.message}\n`)
  process.exit(3)
})
child.on('exit', (code, signal) => {
  if (signal !== null) {
    process.removeAllListeners(signal)
    process.kill(process.pid, signal)
  } else process.exit(code ?? 1)
})

function inheritedDescriptors() {
  const named = process.argv.flatMap((argument, index) => {
    if (/^--(new-)?passphrase-fd$/.test(argument)) return [Number(process.argv[index + 1])]
    const joined = /^--(?:new-)?passphrase-fd=(\d+)$/.exec(argument)
    return joined ? [Number(joined[1])] : []
  })
  const highest = Math.max(2, ...named.filter((fd) => Number.isInteger(fd) && fd < 64))
  return Array.from({ length: highest - 2 }, (_, index) => (named.includes(index + 3) ? index + 3 : 'ignore'))
}
