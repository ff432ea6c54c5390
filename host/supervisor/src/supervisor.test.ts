import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

// Real processes, from the supervisor down to the enclaves' bundles, which are built here first.

const root = fileURLToPath(new URL('../../..', import.meta.url))
const main = fileURLToPath(new URL('main.ts', import.meta.url))

interface Process {
  readonly name: string
  readonly pid: number | null
  readonly restarts: number
  readonly ready: boolean
}

describe('an installation', () => {
  let folder: string
  let data: string
  let supervisor: ChildProcess

  const start = (...more: string[]): ChildProcess =>
    spawn(process.execPath, [main, '--data', data, '--port', '0', '--enclaves', join(folder, 'enclave'), ...more], {
      stdio: ['pipe', 'pipe', 'pipe'],
    })
  const status = async (): Promise<{ pid: number; state: string; manager: string; processes: Process[] }> =>
    JSON.parse(await readFile(join(data, 'status.json'), 'utf8'))
  const said = async (child: ChildProcess): Promise<string> => {
    let text = ''
    child.stdout?.on('data', (chunk) => {
      text += chunk
    })
    child.stderr?.on('data', (chunk) => {
      text += chunk
    })
    await once(child, 'close')
    return text
  }
  const ready = async (child: ChildProcess): Promise<void> => {
    const errors: string[] = []
    child.stderr?.on('data', (chunk) => errors.push(String(chunk)))
    const [line] = await Promise.race([
      once(child.stdout!, 'data'),
      once(child, 'close').then(() => Promise.reject(new Error(errors.join('')))),
    ])
    assert.equal(JSON.parse(String(line)).event, 'ready')
  }

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'cella-up-'))
    data = join(folder, 'data')
    const script = `const { buildEnclaves, signBuilds } = await import(${JSON.stringify(join(root, 'scripts/build-enclave.ts'))})
      const { cp, appendFile, readFile } = await import('node:fs/promises')
      const { hash } = await import('node:crypto')
      const [, first, second] = process.argv
      const bundles = await buildEnclaves(first)
      await signBuilds(first, bundles)
      // Another version of the log signer, by the same builder.
      await cp(first, second, { recursive: true })
      await appendFile(second + '/log-signer.mjs', '// next')
      const digest = hash('sha256', await readFile(second + '/log-signer.mjs'))
      await signBuilds(second, bundles.map((one) => one.role === 'log-signer' ? { ...one, digest } : one))`
    const folders = [join(folder, 'enclave'), join(folder, 'enclave-next')]
    const build = spawn(process.execPath, ['--input-type=module', '-e', script, ...folders], {
      stdio: 'inherit',
    })
    const [code] = await once(build, 'exit')
    assert.equal(code, 0)
    supervisor = start()
    await ready(supervisor)
  })
  after(async () => {
    if (supervisor.exitCode === null) {
      supervisor.kill('SIGTERM')
      await once(supervisor, 'exit')
    }
    await rm(folder, { recursive: true })
  })

  test('is up with every process, and serves', async () => {
    const { state, manager, processes } = await status()
    assert.equal(state, 'up')
    assert.deepEqual(processes.map(({ name }) => name).sort(), [
      'log',
      'log-signer',
      'manager',
      'vault',
      'witness-1',
      'worker-1',
    ])
    assert.ok(processes.every((one) => one.ready && one.restarts === 0))
    assert.equal((await fetch(`${manager}/readyz`)).status, 200)
  })

  test('refuses a second supervisor on the same folder and says who runs', async () => {
    const second = start()
    const text = await said(second)
    assert.match(text, /ERR_ALREADY_RUNNING/)
    assert.match(text, new RegExp(`process ${supervisor.pid}\\b`))
    assert.notEqual(second.exitCode, 0)
    assert.equal((await status()).pid, supervisor.pid)
  })

  test('takes no other port than the one it was told, and leaves nothing running', async () => {
    const { port } = new URL((await status()).manager)
    const second = start('--data', join(folder, 'second'), '--port', port)
    const [text, [code]] = await Promise.all([said(second), once(second, 'exit')])
    assert.match(text, /ERR_PORT_TAKEN.*--port/s)
    assert.equal(code, 1)
  })

  test('starts again whatever is killed, at the same address', async () => {
    const before = await status()
    for (const { pid } of before.processes) process.kill(pid ?? 0, 'SIGKILL')
    const isBack = async (): Promise<boolean> => {
      const { processes } = await status()
      return processes.every(({ ready, restarts }) => ready && restarts > 0)
    }
    for (let turn = 0; turn < 300 && !(await isBack()); turn++) await sleep(100)
    assert.ok(await isBack(), JSON.stringify(await status()))
    const { manager } = await status()
    assert.equal(manager, before.manager)
    assert.equal((await fetch(`${manager}/readyz`)).status, 200)
  })

  test('goes on when its status can’t be written, and writes it once it can', async () => {
    const { processes } = await status()
    const path = join(data, 'status.json')
    await rm(path)
    await mkdir(join(path, 'in-the-way'), { recursive: true })
    process.kill(processes.find(({ name }) => name === 'worker-1')?.pid ?? 0, 'SIGKILL')
    await sleep(500)
    assert.equal(supervisor.exitCode, null)
    await rm(path, { recursive: true })
    const isWorking = async (): Promise<boolean> =>
      existsSync(path) && (await status()).processes.every(({ ready }) => ready)
    for (let turn = 0; turn < 300 && !(await isWorking()); turn++) await sleep(100)
    assert.ok(await isWorking())
  })

  test('ends what a killed supervisor left, and keeps address, log and vault', async () => {
    const before = await status()
    const info = await (await fetch(`${before.manager}/v1/info`)).json()
    supervisor.kill('SIGKILL')
    await once(supervisor, 'exit')
    supervisor = start()
    await ready(supervisor)
    const { manager, processes } = await status()
    assert.equal(manager, before.manager)
    assert.deepEqual(await (await fetch(`${manager}/v1/info`)).json(), info)
    const pids = new Set(processes.map(({ pid }) => pid))
    for (const { pid } of before.processes) {
      assert.ok(!pids.has(pid))
      assert.throws(() => process.kill(pid ?? 0, 0), { code: 'ESRCH' })
    }
  })

  test('stops in order on SIGTERM and leaves no process', async () => {
    const { processes } = await status()
    supervisor.kill('SIGTERM')
    const [code] = await once(supervisor, 'exit')
    assert.equal(code, 0)
    for (const { pid } of processes) assert.throws(() => process.kill(pid ?? 0, 0), { code: 'ESRCH' })
    const log = await readFile(join(data, 'logs', 'manager.log'), 'utf8')
    assert.match(log.trim().split('\n').at(-1) ?? '', /"msg":"stopped"/)
  })

  test('killed when the log’s key has come to the next log signer, and before the switch to it', async () => {
    supervisor = start('--upgrade-log-signer', '--enclaves', join(folder, 'enclave-next'))
    const versions = join(data, 'log-signer')
    // The key is the last file that is written when it is taken.
    const holders = () => readdirSync(versions).filter((id) => existsSync(join(versions, id, 'key.sealed')))
    while (holders().length < 2) {
      assert.equal(supervisor.exitCode, null, 'it ended before')
      await sleep(1)
    }
    supervisor.kill('SIGKILL')
    await once(supervisor, 'exit')
    const { logSigner, nextLogSigner } = JSON.parse(readFileSync(join(data, 'state.json'), 'utf8'))
    assert.deepEqual([logSigner, nextLogSigner].sort(), holders().sort())
  })

  const signers = async (): Promise<{ vkey: string; statements: string[] }> =>
    (await fetch(`${(await status()).manager}/v1/log/signers`)).json() as never
  let vkey: string | undefined
  for (const { name, leave } of [
    // At the first of these starts the switch is done, without being asked for again; at the second the key stays there.
    { name: 'its terminal is closed', leave: () => supervisor.kill('SIGHUP') },
    { name: 'what started it is gone, if so asked', leave: () => supervisor.stdin?.end() },
  ]) {
    test(`stops when ${name}, and leaves no process`, async () => {
      supervisor = start('--end-with-input')
      await ready(supervisor)
      const { processes } = await status()
      const { vkey: now, statements } = await signers()
      const state = JSON.parse(readFileSync(join(data, 'state.json'), 'utf8'))
      vkey ??= state.vkey
      assert.equal(state.nextLogSigner, undefined)
      assert.deepEqual([now, statements.length], [vkey, 2])
      const measured = statements.map((one) => JSON.parse(JSON.parse(one).build).payload)
      assert.notEqual(measured[0], measured[1])
      leave()
      const [code] = await once(supervisor, 'exit')
      assert.equal(code, 0)
      for (const { pid } of processes) assert.throws(() => process.kill(pid ?? 0, 0), { code: 'ESRCH' })
    })
  }

  for (const step of ['create-main', '--init', 'initdb']) {
    const skip = process.platform !== 'linux' && 'reads /proc'
    test(`told to end while ${step} is at work, it leaves no process`, { skip }, async () => {
      const fresh = await mkdtemp(join(folder, 'fresh-'))
      const starting = start('--data', fresh)
      while (!commandLines(fresh).some((line) => line.includes(step))) {
        assert.equal(starting.exitCode, null, `${step} was not seen`)
        await sleep(1)
      }
      starting.kill('SIGTERM')
      const [text, [code]] = await Promise.all([said(starting), once(starting, 'exit')])
      assert.deepEqual(commandLines(fresh), [])
      assert.doesNotMatch(text, /"failed"/)
      assert.equal(code, 0)
    })
  }
})

/** Command lines that name `text`. */
function commandLines(text: string): string[] {
  const lines = readdirSync('/proc').flatMap((entry) => {
    try {
      return /^\d+$/.test(entry) ? [readFileSync(`/proc/${entry}/cmdline`, 'utf8').replaceAll('\0', ' ')] : []
    } catch {
      return []
    }
  })
  return lines.filter((line) => line.includes(text))
}
