import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { sharedPath, sharedTest } from '@cella/testing'

// The demo as a user starts it, in a process of its own: `npm run demo` runs the same file.

const main = fileURLToPath(new URL('../examples/demo/main.ts', import.meta.url))
const payGap = fileURLToPath(new URL('../examples/programs/pay-gap/pay-gap.wasm', import.meta.url))

async function demo(folder: string, parameters: readonly string[]): Promise<{ code: number | null; output: string }> {
  const child = spawn(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', main, '--folder', folder, ...parameters],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { PATH: process.env.PATH, NO_COLOR: '1', NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE },
    },
  )
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
  }
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
  return { code, output }
}

/** Each chapter in which the operator cheats, and the code with which it is refused there. */
const cheats = [
  ['A program changed by one byte', 'ERR_POLICY_PROGRAM'],
  ['A policy swapped', 'ERR_DOCUMENT_MISSING'],
  ['A receiver’s key swapped', 'ERR_DOCUMENT_MISSING'],
  ['A ciphertext bit flipped', 'ERR_SEAL_DIGEST_MISMATCH'],
  ['A release request replayed', 'ERR_NONCE_UNKNOWN'],
  ['A worker of unknown measurement', 'ERR_TEE_MEASUREMENT'],
  ['The host’s configuration trusts another root', 'ERR_EVIDENCE_ROOT_UNKNOWN'],
  ['A simulated TEE under terms that demand a real one', 'ERR_TEE_SIMULATED'],
  ['An eleventh run', 'ERR_LIMIT_RUNS'],
  ['A dropped revocation', 'ERR_DOCUMENT_REVOKED'],
  ['Yesterday’s database and log restored', 'ERR_LOG_BEHIND_WITNESS'],
  ['A clock set back a month', 'ERR_EXPIRED'],
] as const

test('the demo runs to its end, suppresses the two women in construction and refuses twelve tricks by name', async (context) => {
  const folder = await mkdtemp(join(tmpdir(), 'cella-demo-'))
  try {
    const { code, output } = await demo(join(folder, 'demo'), [])
    assert.equal(code, 0, output)
    const result = await readFile(join(folder, 'demo', 'result.csv'), 'utf8')
    assert.match(result, /^construction,female,,,$/m)
    assert.match(result, /^construction,male,22,/m)
    assert.match(output, /SIMULATED/)
    assert.match(output, /PROVED/)
    const chapters = output.split(/\n(?=\S)/)
    for (const [title, refusal] of cheats) {
      await context.test(`refuses: ${title}`, () => {
        const told = chapters.find((chapter) => chapter.startsWith(title))
        assert.ok(told?.includes(`✘ ${refusal}`), `${title}: ${told ?? 'is not told'}`)
      })
    }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})

test('the demo says what is wrong with a command line, and starts and writes nothing', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'cella-demo-usage-'))
  try {
    const cases: [RegExp, string[]][] = [
      [/--nonsense/, ['--nonsense']],
      [/go together/, ['--data', folder]],
      [/is no folder/, ['--data', join(folder, 'absent'), '--program', payGap]],
      [/is no file/, ['--data', folder, '--program', join(folder, 'absent')]],
      [/holds no table/, ['--data', folder, '--program', payGap]],
    ]
    for (const [expected, parameters] of cases) {
      const { code, output } = await demo(join(folder, 'demo'), parameters)
      assert.equal(code, 2, output)
      assert.match(output, new RegExp(`^error: .*${expected.source}.*\\nhint: .+\\n$`))
    }
    await assert.rejects(readFile(join(folder, 'demo', 'demo.json')), { code: 'ENOENT' })
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})

sharedTest('the demo runs on the files of four hospitals', 'data/heart', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'cella-heart-'))
  try {
    const { code, output } = await demo(join(folder, 'demo'), [
      ...['--data', sharedPath('data/heart'), '--program', payGap],
      ...['--arguments', '{inputs} --value chol --group sex'],
      '--columns',
      'source:text:group,sex:integer:group,n:integer:count,mean:number:value,median:number:value',
    ])
    assert.equal(code, 0, output)
    const rows = (await readFile(join(folder, 'demo', 'result.csv'), 'utf8')).trimEnd().split('\n')
    assert.equal(rows.length, 9)
    // 303 patients of Cleveland, all with a value: counted once by the program, and once by hand.
    assert.match(rows[1]!, /^processed\.cleveland,0,96,/)
    assert.match(rows[2]!, /^processed\.cleveland,1,207,/)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})
