#!/usr/bin/env node
// Plain JavaScript for any Node from 20.19 on: runs the command in this process where its Node is new enough, else starts
// itself on the Node 26 that was installed together with this package and hands it everything. Nothing is decided here.
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, statSync } from 'node:fs'
import nodeModule, { createRequire } from 'node:module'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { setFlagsFromString } from 'node:v8'

const wanted = 26
const own = fileURLToPath(import.meta.url)
const here = dirname(own)

if (Number(process.versions.node.split('.')[0]) >= wanted) await runHere()
else runOn(findNode())

async function runHere() {
  // What --disable-warning=ExperimentalWarning does.
  const [print] = process.listeners('warning')
  process.removeAllListeners('warning')
  process.on('warning', (warning) => warning.name !== 'ExperimentalWarning' && print?.(warning))
  keepCompiled()
  // A command asks the policy engine a few times and ends: optimized WebAssembly would come after it, and not for nothing.
  setFlagsFromString('--wasm-tiering-budget=2000000000')
  const built = join(here, '..', 'dist', 'main.js')
  const main = existsSync(built) ? built : join(here, '..', 'src', 'main.ts')
  await import(pathToFileURL(main).href)
}

/** Compiled code is code: it is kept where nobody else can write, or not at all. It makes every start but the first quick. */
function keepCompiled() {
  const { XDG_CACHE_HOME, LOCALAPPDATA, NODE_COMPILE_CACHE } = process.env
  if (NODE_COMPILE_CACHE !== undefined) return
  const system = { win32: LOCALAPPDATA, darwin: join(homedir(), 'Library', 'Caches') }[process.platform]
  const folder = join(XDG_CACHE_HOME || system || join(homedir(), '.cache'), 'cella', 'compiled')
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    const { uid, mode } = statSync(folder)
    if (process.platform !== 'win32' && (uid !== process.getuid() || (mode & 0o077) !== 0)) return
    nodeModule.enableCompileCache(folder)
    // For the processes of a server that `cella up` starts.
    process.env.NODE_COMPILE_CACHE = folder
  } catch {
    // It is slower without.
  }
}

function findNode() {
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
  process.stderr.write(
    `error: cella runs on Node ${wanted}, this is Node ${process.versions.node}, and the package that brings Node ${wanted} for ${process.platform}-${process.arch} is not installed\n` +
      `hint: run npm install again without --omit=optional, or install Node ${wanted} from nodejs.org\n`,
  )
  return process.exit(3)
}

function runOn(node) {
  const child = spawn(node, [own, ...process.argv.slice(2)], {
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
}

function inheritedDescriptors() {
  const named = process.argv.flatMap((argument, index) => {
    if (/^--(new-)?passphrase-fd$/.test(argument)) return [Number(process.argv[index + 1])]
    const joined = /^--(?:new-)?passphrase-fd=(\d+)$/.exec(argument)
    return joined ? [Number(joined[1])] : []
  })
  const highest = Math.max(2, ...named.filter((fd) => Number.isInteger(fd) && fd < 64))
  return Array.from({ length: highest - 2 }, (_, index) => (named.includes(index + 3) ? index + 3 : 'ignore'))
}
