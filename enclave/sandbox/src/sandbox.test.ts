import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { digestOf } from '@cella/primitives'
import { bundledSandbox, command, exampleProgram, inputOf, type Trial, text, trial } from './fixtures.test-support.ts'
import { createSandbox, SandboxError, type SandboxStatus } from './index.ts'

const sandbox = await bundledSandbox(2)
const forever = '(loop br 0)'

describe('each way to end', () => {
  const deep = '(func $deep (call $deep))'
  const cases: { name: string; status: SandboxStatus; it: Trial; check?: RegExp }[] = [
    { name: 'a program that returns', status: 'ok', it: { module: command('') } },
    {
      name: 'exit with 3',
      status: 'exit-nonzero',
      it: {
        module: command('i32.const 3 call 0', '(import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))'),
      },
    },
    { name: 'a trap', status: 'trap', it: { module: command('unreachable') }, check: /unreachable/ },
    {
      name: 'a read beyond the memory',
      status: 'trap',
      it: { module: command('i32.const -1 i32.load drop') },
      check: /out of bounds/,
    },
    {
      name: 'a data segment beyond the memory',
      status: 'trap',
      it: { module: command('', '(data (i32.const 65535) "ab")') },
    },
    { name: 'an endless loop', status: 'out-of-fuel', it: { module: command(forever) } },
    {
      name: 'an endless loop in the start section',
      status: 'out-of-fuel',
      it: { module: command('', `(func $first ${forever}) (start $first)`) },
    },
    {
      name: 'a loop of large fills',
      status: 'out-of-fuel',
      it: {
        module: command('(loop i32.const 0 i32.const 1 i32.const 65536 memory.fill br 0)'),
        budgets: { fuel: 1_000_000 },
      },
    },
    { name: 'endless recursion', status: 'call-depth', it: { module: command('call $deep', deep) } },
    {
      name: 'endless recursion through a table',
      status: 'call-depth',
      it: {
        module: command(
          'call $deep',
          '(type $t (func)) (table 1 funcref) (elem (i32.const 0) $deep) (func $deep i32.const 0 call_indirect (type $t))',
        ),
        budgets: { callDepth: 10_000 },
      },
    },
    {
      name: 'endless recursion with large frames',
      status: 'call-depth',
      it: { module: command('call $deep', `(func $deep (local ${'i64 '.repeat(5000)}) (call $deep))`) },
    },
    {
      name: 'a memory bomb that gives up',
      status: 'out-of-memory',
      it: { module: command('(loop i32.const 1 memory.grow i32.const -1 i32.ne br_if 0) unreachable') },
    },
    { name: 'a refused module', status: 'not-admitted', it: { module: new Uint8Array(10) }, check: /MALFORMED/ },
    {
      name: 'a memory above the budget',
      status: 'not-admitted',
      it: { module: command('', '', '(memory (export "memory") 65)') },
      check: /ERR_MODULE_MEMORY/,
    },
    {
      name: 'a loop that outlives its deadline',
      status: 'deadline',
      it: { module: command(forever), budgets: { fuel: 2n ** 62n, wallMs: 100 } },
    },
    {
      name: 'a flood of output',
      status: 'output-too-large',
      it: { module: exampleProgram('spy'), args: ['flood'], inputs: { secret: '1' } },
    },
  ]
  for (const { name, status, it, check } of cases) {
    test(`${name}: ${status}`, async () => {
      const result = await trial(sandbox, it)
      assert.equal(result.status, status)
      assert.equal(result.outputs.size, status === 'ok' ? 1 : 0, 'outputs only of a run that ended well')
      if (check !== undefined) assert.match(String(result.diagnostics.trapText), check)
    })
  }

  test('a runner that is ended from outside: runner-lost', async () => {
    const other = await bundledSandbox(0)
    const running = trial(other, { module: command(forever), budgets: { fuel: 2n ** 62n } })
    await new Promise((resolve) => setTimeout(resolve, 300))
    await other.close()
    assert.equal((await running).status, 'runner-lost')
  })

  test('memory grows to its budget and not a page further', async () => {
    const grow = command('(loop i32.const 1 memory.grow i32.const -1 i32.ne br_if 0)')
    const result = await trial(sandbox, { module: grow, budgets: { memoryPages: 20 } })
    assert.equal(result.status, 'ok')
    assert.equal(result.diagnostics.memoryPeakPages, 20)
  })
})

describe('the operator', () => {
  /** Everything that `status` alone may tell, for a secret of 0 and of 1. */
  const channels: [string, SandboxStatus, SandboxStatus][] = [
    ['exit', 'ok', 'exit-nonzero'],
    ['code', 'exit-nonzero', 'exit-nonzero'],
    ['trap', 'ok', 'trap'],
    ['fuel', 'ok', 'ok'],
    ['spin', 'ok', 'out-of-fuel'],
    ['memory', 'ok', 'out-of-memory'],
    ['depth', 'ok', 'call-depth'],
    ['stdout', 'ok', 'ok'],
    ['stderr', 'ok', 'ok'],
    ['output', 'ok', 'ok'],
    ['flood', 'ok', 'output-too-large'],
    ['name', 'ok', 'ok'],
    ['probe', 'ok', 'ok'],
    ['clock', 'ok', 'ok'],
    ['random', 'ok', 'ok'],
  ]
  for (const [channel, zero, one] of channels) {
    test(`learns at most a status from a spy on the channel ${channel}`, async () => {
      for (const [secret, status] of [
        ['0', zero],
        ['1', one],
      ] as const) {
        const result = await trial(sandbox, { module: exampleProgram('spy'), args: [channel], inputs: { secret } })
        assert.equal(result.status, status)
        const { outputs: _outputs, diagnostics: _diagnostics, ...rest } = result
        assert.deepEqual(rest, { status, injectorVersion: 1, isolation: result.isolation })
      }
    })
  }

  test('sees every input consumed to its end, whatever the program read', async () => {
    let given = 0
    const bytes = (async function* (): AsyncGenerator<Uint8Array> {
      for (; given < 40; given++) yield new Uint8Array(100_000)
    })()
    const result = await sandbox.run({
      module: command('unreachable'),
      args: [],
      seed: new Uint8Array(32),
      inputs: [{ name: 'unread', length: 4_000_000, bytes }],
      outputs: [],
      budgets: { fuel: 1000, memoryPages: 1, callDepth: 1, wallMs: 10_000, diagnosticsBytesMax: 0 },
    })
    assert.equal(result.status, 'trap')
    assert.equal(given, 40)
  })
})

describe('pay-gap', () => {
  const columns = 'wage,sex,sector'
  const inputs = {
    a: `${columns}\n10,male,x\n20.5,male,y\n,male,x\n6,female,x\n"7",female,"a,""b"\n`,
    b: `sex,wage\nfemale,1e1\nmale,-2\nmale,?\n`,
  }
  const args = ['--input', 'a', '--input', 'b', '--value', 'wage', '--group', 'sex', '--compare', 'sex=male:female']

  test('counts, averages and compares', async () => {
    const result = await trial(sandbox, {
      module: exampleProgram('pay-gap'),
      args,
      inputs,
      outputs: { result: 1000, gap: 1000 },
    })
    assert.equal(text(result.diagnostics.stderr), '')
    assert.equal(
      text(result.outputs.get('result')),
      'source,sex,n,mean,median\na,female,2,6.5,6.5\na,male,2,15.25,15.25\nb,female,1,10,10\nb,male,1,-2,-2\n',
    )
    assert.equal(
      text(result.outputs.get('gap')),
      'source,n_a,n_b,mean_a,mean_b,gap_percent\na,2,2,15.25,6.5,57.377\nb,1,1,-2,10,600\n',
    )
  })

  test('quotes group names that need it', async () => {
    const result = await trial(sandbox, {
      module: exampleProgram('pay-gap'),
      args: ['--input', 'a', '--value', 'wage', '--group', 'sector,sex'],
      inputs: { a: inputs.a },
    })
    assert.match(text(result.outputs.get('result')), /^a,"a,""b",female,1,7,7$/m)
  })

  for (const [name, list, code] of [
    ['no arguments', [], 2],
    ['a column that is not there', [...args.slice(0, 4), '--value', 'salary', '--group', 'sex'], 3],
    ['an input that is not declared', ['--input', 'c', '--value', 'wage', '--group', 'sex'], 3],
  ] as const) {
    test(`exits with ${code} for ${name}`, async () => {
      const result = await trial(sandbox, { module: exampleProgram('pay-gap'), args: list, inputs })
      assert.equal(result.status, 'exit-nonzero')
      assert.equal(result.diagnostics.exitCode, code)
    })
  }
})

test('fuel, outputs and diagnostics are the same in both tiers and however inputs are cut', async () => {
  const rows = Array.from({ length: 3000 }, (_, row) => `${(row * 7919) % 1000}.${row % 10},${row % 3 ? 'x' : 'y'}\n`)
  const inputs = { a: `wage,sex\n${rows.join('')}`, b: `sex,wage\n${'x,1\n'.repeat(100)}` }
  const args = ['--input', 'b', '--input', 'a', '--value', 'wage', '--group', 'sex']
  const it = { module: exampleProgram('pay-gap'), args, inputs }
  const whole = await trial(sandbox, it)
  assert.equal(whole.status, 'ok')
  for (const variant of [
    { tier: 'batch' },
    { pieceLength: 1009 },
    { pieceLength: 17, tier: 'batch' },
    { seed: 1 },
  ] as const) {
    assert.deepEqual(await trial(sandbox, { ...it, ...variant }), whole)
  }
})

test('the depth counter ends deep recursion at the same instruction in both tiers', async () => {
  const module = command('call $deep', `(func $deep (local ${'i64 '.repeat(200)}) (call $deep))`)
  const fast = await trial(sandbox, { module, budgets: { callDepth: 10_000 } })
  const batch = await trial(sandbox, { module, budgets: { callDepth: 10_000 }, tier: 'batch' })
  assert.equal(fast.status, 'call-depth')
  assert.ok(fast.diagnostics.fuelUsed < 20_000n)
  assert.deepEqual(batch, fast)
})

test('the isolation reported is a process under the permission model, with rlimits where prlimit is', async () => {
  const { isolation } = await trial(sandbox, { module: command('') })
  const rlimits = existsSync('/usr/bin/prlimit') ? ['rlimits'] : []
  assert.deepEqual(isolation, { level: 2, layers: ['process', 'permission', ...rlimits] })
})

describe('jobs that make no sense', () => {
  const bad: [string, Trial][] = [
    ['an argument with a zero byte', { module: command(''), args: ['\0'] }],
    ['a name with a slash', { module: command(''), outputs: { 'a/b': 1 } }],
    ['a name that climbs', { module: command(''), inputs: { '..': 'x' } }],
    ['a negative budget', { module: command(''), budgets: { fuel: -1 } }],
    ['a budget left out', { module: command(''), budgets: { memoryPages: undefined as never } }],
    ['too much memory', { module: command(''), budgets: { memoryPages: 65_537 } }],
  ]
  for (const [name, it] of bad) {
    test(`are refused: ${name}`, async () => {
      await assert.rejects(
        trial(sandbox, it),
        (error) => error instanceof SandboxError && error.code === 'ERR_JOB_INVALID',
      )
    })
  }

  for (const [name, length] of [
    ['longer', 3],
    ['shorter', 5],
  ] as const) {
    test(`an input ${name} than declared is an error`, async () => {
      const run = sandbox.run({
        module: command(''),
        args: [],
        seed: new Uint8Array(32),
        inputs: [{ ...inputOf('a', 'four'), length }],
        outputs: [],
        budgets: { fuel: 1000, memoryPages: 1, callDepth: 1, wallMs: 10_000, diagnosticsBytesMax: 0 },
      })
      await assert.rejects(run, (error) => error instanceof SandboxError && error.code === 'ERR_INPUT_LENGTH')
    })
  }
})

test('a runner that can’t start is an error, not a status', async () => {
  const other = createSandbox({ nodePath: process.execPath, runnerPath: '/nowhere/runner.mjs', poolSize: 0 })
  await assert.rejects(
    trial(other, { module: command('') }),
    (error) => error instanceof SandboxError && error.code === 'ERR_RUNNER_UNAVAILABLE',
  )
})

test('a used runner is replaced when it is asked for, and after the end never', {
  skip: process.platform !== 'linux' && 'counts processes in /proc',
}, async () => {
  const pooled = await bundledSandbox(2)
  // A runner begins as prlimit, which becomes it.
  const started = (): number =>
    readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8')
      .split(' ')
      .filter((pid) => pid !== '' && existsSync(`/proc/${pid}`))
      .filter((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('cella-runner-')).length
  const before = started() - 2
  assert.equal((await trial(pooled, { module: command('') })).status, 'ok')
  while (started() > before + 1) await new Promise((resolve) => setTimeout(resolve, 5))
  pooled.refill()
  pooled.refill()
  assert.equal(started(), before + 2)
  await pooled.close()
  pooled.refill()
  assert.equal(started(), before)
})

test('the committed programs are those of the digests in examples/programs/README.md', () => {
  const readme = readFileSync(new URL('../../../examples/programs/README.md', import.meta.url), 'utf8')
  for (const name of ['pay-gap', 'empty', 'spy']) {
    assert.match(readme, new RegExp(`^\\| ${name} .*\`${digestOf(exampleProgram(name))}\``, 'm'))
  }
})
