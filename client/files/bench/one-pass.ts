import { readFileSync, writeFileSync } from 'node:fs'
import { asDek } from '@cella/seal'
import { openFile, sealFile } from '../src/index.ts'

// One pass in a process of its own, so that its memory and CPU are its own: one-pass.ts seal|open SOURCE TARGET ID CHUNK_LOG2.
// The key is a constant, for these are random bytes; CPU and wall are from the first read to the folder's fsync.
const [mode, source = '', target = '', id = '', chunkSizeLog2] = process.argv.slice(2)
const dek = asDek(new Uint8Array(32).fill(7))
const cpuStart = process.cpuUsage()
const start = performance.now()
if (mode === 'seal') {
  const sealed = await sealFile({ source, target, dek, chunkSizeLog2: Number(chunkSizeLog2) })
  writeFileSync(id, JSON.stringify({ ...sealed, outboard: [...sealed.outboard] }))
} else {
  const expected = JSON.parse(readFileSync(id, 'utf8'))
  await openFile({ source, target, dek, expected, outboard: new Uint8Array(expected.outboard) })
}
const cpu = process.cpuUsage(cpuStart)
console.log(
  JSON.stringify({
    cpuMs: (cpu.user + cpu.system) / 1000,
    wallMs: performance.now() - start,
    rssMaxMib: rssMaxKib() / 1024,
  }),
)

/** Of this program alone: on Linux the kernel's maxRSS begins with that of the process that started it. proc(5) */
function rssMaxKib(): number {
  try {
    return Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1])
  } catch {
    return process.resourceUsage().maxRSS
  }
}
