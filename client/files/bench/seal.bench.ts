import { execFileSync, spawnSync } from 'node:child_process'
import { createCipheriv, createHash, randomBytes } from 'node:crypto'
import {
  appendFileSync,
  closeSync,
  createReadStream,
  fsyncSync,
  mkdtempSync,
  openSync,
  rmSync,
  statSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Figure } from '@cella/testing'

interface Pass {
  cpuMs: number
  wallMs: number
  rssMaxMib: number
}

const mib = 2 ** 20
const chunkSizeLog2 = 20
const onePass = fileURLToPath(new URL('./one-pass.ts', import.meta.url))

/**
 * Seal and open, file to file. Against AES-256-GCM and SHA-256 of the same number of bytes by node:crypto in memory, and
 * against `age` where it is installed (its output synced, as ours is). CELLA_BENCH_MIB sets the size: 256 unless given;
 * 4096 is the size for which the bound on memory is promised.
 */
export async function bench(report: (figure: Figure) => void): Promise<void> {
  const sizeMib = Number(process.env.CELLA_BENCH_MIB ?? 256)
  const folder = mkdtempSync(join(tmpdir(), 'cella-bench-'))
  try {
    const plain = join(folder, 'plain')
    for (let done = 0; done < sizeMib; done += 16) appendFileSync(plain, randomBytes(16 * mib))
    const base = best([1, 2, 3].map(() => cryptoAlone(sizeMib)))
    const seal: Pass[] = []
    const open: Pass[] = []
    // The first round warms page cache and allocator and does not count.
    for (let round = 0; round < (sizeMib > 1024 ? 2 : 4); round++) {
      for (const name of ['sealed', 'opened']) rmSync(join(folder, name), { force: true })
      const id = join(folder, 'id')
      const sealed = pass('seal', plain, join(folder, 'sealed'), id)
      // Sealing may have gone past the page cache; sources are warm for everyone.
      for await (const _ of createReadStream(join(folder, 'sealed')));
      const opened = pass('open', join(folder, 'sealed'), join(folder, 'opened'), id)
      if (round > 0) {
        seal.push(sealed)
        open.push(opened)
      }
    }
    const peer = ageTimes(folder, plain)
    const size = `${sizeMib} MiB`
    for (const [name, passes] of [['seal', seal] as const, ['open', open] as const]) {
      const cpu = best(passes.map(({ cpuMs }) => cpuMs))
      report(figure(`${name} ${size} file to file, CPU`, cpu, 'ms', 'AES-256-GCM + SHA-256 in memory', cpu / base, 1.4))
      const rss = Math.max(...passes.map(({ rssMaxMib }) => rssMaxMib))
      report(figure(`${name} ${size} file to file, memory`, rss, 'MiB', '128 MiB', rss / 128, 1))
      const wall = best(passes.map(({ wallMs }) => wallMs))
      if (peer === undefined) {
        const bench = `${name} ${size} file to file, wall`
        report({
          bench,
          value: wall,
          unit: 'ms',
          against: 'age: not installed',
          ratio: Number.NaN,
          target: 1,
          met: true,
        })
      } else {
        report(figure(`${name} ${size} file to file, wall`, wall, 'ms', 'age, synced', wall / peer[name], 1))
      }
    }
  } finally {
    rmSync(folder, { recursive: true })
  }
}

function figure(bench: string, value: number, unit: string, against: string, ratio: number, target: number): Figure {
  return { bench, value, unit, against, ratio, target, met: ratio <= target }
}

function best(values: number[]): number {
  return Math.min(...values)
}

function pass(mode: 'seal' | 'open', source: string, target: string, id: string): Pass {
  const args = ['--disable-warning=ExperimentalWarning', onePass, mode, source, target, id, String(chunkSizeLog2)]
  return JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8' }))
}

/** CPU milliseconds that the two algorithms alone take. */
function cryptoAlone(sizeMib: number): number {
  const chunk = randomBytes(2 ** chunkSizeLog2)
  const key = randomBytes(32)
  const nonce = randomBytes(12)
  const start = process.cpuUsage()
  for (let done = 0; done < sizeMib * mib; done += chunk.length) {
    const cipher = createCipheriv('aes-256-gcm', key, nonce)
    const ciphertext = cipher.update(chunk)
    cipher.final()
    createHash('sha256').update(ciphertext).update(cipher.getAuthTag()).digest()
  }
  const cpu = process.cpuUsage(start)
  return (cpu.user + cpu.system) / 1000
}

/** Wall milliseconds of `age` for the same file, each way the best of three. */
function ageTimes(folder: string, plain: string): { seal: number; open: number } | undefined {
  if (spawnSync('age', ['--version']).status !== 0) return undefined
  const identity = join(folder, 'identity')
  execFileSync('age-keygen', ['-o', identity], { stdio: 'ignore' })
  const recipient = execFileSync('age-keygen', ['-y', identity], { encoding: 'utf8' }).trim()
  const sealed = join(folder, 'plain.age')
  const opened = join(folder, 'plain.opened')
  const rounds = statSync(plain).size > 1024 * mib ? 1 : 3
  const timed = (target: string, args: string[]): number => {
    rmSync(target, { force: true })
    const start = performance.now()
    execFileSync('age', args)
    const file = openSync(target, 'r')
    fsyncSync(file)
    closeSync(file)
    return performance.now() - start
  }
  const times = Array.from({ length: rounds }, () => ({
    seal: timed(sealed, ['-r', recipient, '-o', sealed, plain]),
    open: timed(opened, ['-d', '-i', identity, '-o', opened, sealed]),
  }))
  return { seal: best(times.map(({ seal }) => seal)), open: best(times.map(({ open }) => open)) }
}
