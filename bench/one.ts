import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Figure } from '@cella/testing'
import { judged } from './figure.ts'

// node bench/one.ts MODULE: runs one bench module in a process of its own, a figure a line on standard output. So no
// bench finds the memory and the compiled code of the one before.

const path = process.argv[2]
if (path === undefined) throw new TypeError('bench/one.ts: name a module')
const module: { bench: (report: (figure: Figure) => void) => Promise<void> } = await import(
  pathToFileURL(resolve(path)).href
)
await module.bench((figure) => void process.stdout.write(`${JSON.stringify(judged(figure))}\n`))
