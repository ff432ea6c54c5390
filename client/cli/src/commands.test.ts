import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { encodeVkey, generateNoteSigner } from '@cella/log'
import { commandLine } from '@cella/testing'
import type { Command } from 'commander'
import { buildProgram } from './index.ts'

// Real commands as child processes, for everything that needs no server.

const launcher = fileURLToPath(new URL('../bin/cella.js', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'cella-cli-'))
const home = join(folder, 'home')
after(() => rmSync(folder, { recursive: true, force: true }))

interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

async function cella(args: readonly string[], passphrases: readonly string[] = []): Promise<Ended> {
  const child: ChildProcess = spawn(process.execPath, [commandLine, '--home', home, ...args], {
    stdio: ['ignore', 'pipe', 'pipe', ...passphrases.map(() => 'pipe' as const)],
    env: { PATH: process.env.PATH, NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE },
  })
  for (const [index, passphrase] of passphrases.entries()) {
    const pipe = child.stdio[index + 3] as NodeJS.WritableStream
    pipe.on('error', () => undefined)
    pipe.end(`${passphrase}\n`)
  }
  let stdout = ''
  let stderr = ''
  child.stdout!.on('data', (part) => {
    stdout += part
  })
  child.stderr!.on('data', (part) => {
    stderr += part
  })
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
  return { code, stdout, stderr }
}

const secret = 'a long enough passphrase'

function leaves(command: Command, path: string[] = []): [string[], Command][] {
  const here = [...path, command.name()]
  return command.commands.length === 0 ? [[here, command]] : command.commands.flatMap((child) => leaves(child, here))
}

const { stdin, stdout, stderr } = process
const cli = { io: { stdin, stdout, stderr, env: {} }, ending: { exitCode: 0 } }
const program = await buildProgram(cli, '0.0.0')

describe('the tree of commands', () => {
  const all = leaves(program)

  test('has every command of the reference', () => {
    const names = all.map(([path]) => path.slice(1).join(' '))
    const wanted =
      'up|down|status|doctor|org create|org show|org member add|org member remove|org trust|org terms|keys list|keys backup|keys restore|keys change-passphrase|inspect|publish|assets list|assets show|assets revoke|workflow create|workflow show|workflow check|contract create|contract show|contract approve|contract revoke|run|runs list|runs show|runs cancel|open|receipt show|verify|log show|log tail|log search|log disclose|log export|log check|log prove|log verify|log mirror|log push|log monitor|witness serve|witness mirror|policy show|policy explain'
    assert.deepEqual(
      wanted.split('|').filter((name) => !names.includes(name)),
      [],
    )
  })

  test('lists the same commands where it loads none of them', async () => {
    const listed = await buildProgram(cli, '0.0.0', [])
    assert.equal(listed.helpInformation(), program.helpInformation())
    const inspect = await buildProgram(cli, '0.0.0', ['inspect'])
    const whole = leaves(inspect).filter(([, { options }]) => options.length > 0)
    assert.deepEqual(
      whole.map(([path]) => path.slice(1)),
      [['inspect']],
    )
  })

  for (const [path, command] of all) {
    test(`${path.join(' ')} --help has an example of itself, and the options of every command`, () => {
      let text = ''
      command.configureOutput({
        writeOut: (part) => {
          text += part
        },
      })
      command.outputHelp()
      assert.match(text, /\nExamples?:\n {2}\$ cella /)
      assert.ok(
        text.slice(text.indexOf('\nExample')).includes(path.slice(1).join(' ')),
        'the example is of another command',
      )
      assert.match(text, /--json/)
    })
  }
})

describe('exit codes and errors', () => {
  const usage: [string, string[]][] = [
    ['an unknown command', ['nonsense']],
    ['an unknown command of a group', ['org', 'nonsense']],
    ['an unknown option', ['status', '--nonsense']],
    ['a missing argument', ['inspect']],
    ['a digest that is none', ['contract', 'show', 'abc', '--manager', 'http://127.0.0.1:9']],
    ['a number that is none', ['keys', 'backup', '--shares', 'many', '--threshold', '2', '--output', 'x']],
    ['nothing to trust', ['org', 'trust']],
    ['a kind of TEE that is not simulated', ['up', '--data', folder, '--tee', 'sev']],
    ['a question without a terminal', ['org', 'member', 'add', 'card.json', '--role', 'owner']],
  ]
  for (const [name, args] of usage) {
    if (args[0] === 'org' && args[1] === 'member') writeFileSync(join(folder, 'card.json'), '{}')
    test(`${name} ends with code ${args.includes('member') ? '1 or 2' : 2} and a hint`, async () => {
      const { code, stderr, stdout } = await cella(args)
      assert.ok(code === 2 || (args.includes('member') && code === 1), `${code}: ${stderr}`)
      assert.equal(stdout, '')
      assert.match(stderr, /^error: .+\nhint: .+\n$/s)
      assert.doesNotMatch(stderr, /\bat .*\.ts:\d+/)
    })
  }

  for (const args of [[], ['org']]) {
    test(`${['cella', ...args].join(' ')} alone shows what there is, and asks which`, async () => {
      const { code, stderr } = await cella(args)
      assert.equal(code, 2)
      assert.match(stderr, /^Usage: cella .*\nerror: which command\?\nhint: cella .*--help/s)
    })
  }

  test('a usage error points to the help of its command', async () => {
    const { stderr } = await cella(['--json', 'org', 'create'])
    assert.match(JSON.parse(stderr).error.hint, /^cella org create --help/)
  })

  test('a profile without keys says so before it asks for a passphrase', async () => {
    const { code, stderr } = await cella(['--profile', 'keyless', 'keys', 'list'])
    assert.equal(code, 1)
    assert.match(
      stderr,
      /^error: profile keyless has no keystore yet \(ERR_KEYSTORE_UNAVAILABLE\)\nhint: cella org create/,
    )
  })

  test('a manager that does not answer ends with code 3', async () => {
    const { code, stderr } = await cella(['--manager', 'http://127.0.0.1:9', 'log', 'show'])
    assert.equal(code, 3)
    assert.match(stderr, /ERR_MANAGER_UNAVAILABLE.*\nhint: /s)
  })

  test('the launcher hands descriptors, output and exit code through', async () => {
    const child = spawn(
      process.execPath,
      [launcher, '--home', home, '--profile', 'launched', '--passphrase-fd', '3', 'keys', 'list', '--create', '--json'],
      {
        stdio: ['ignore', 'pipe', 'inherit', 'pipe'],
        env: { PATH: process.env.PATH, NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE },
      },
    )
    ;(child.stdio[3] as NodeJS.WritableStream).end(`${secret}\n`)
    let stdout = ''
    child.stdout!.on('data', (part) => {
      stdout += part
    })
    const code = await new Promise((resolve) => child.once('close', resolve))
    assert.equal(code, 0)
    assert.equal(JSON.parse(stdout).entries.length, 2)
  })

  test('the launcher keeps compiled code where nobody else can write, or not at all', async () => {
    const launch = async (cache: string): Promise<string[]> => {
      const child = spawn(process.execPath, [launcher, '--version'], {
        stdio: 'ignore',
        env: { PATH: process.env.PATH, XDG_CACHE_HOME: cache },
      })
      await new Promise((resolve) => child.once('close', resolve))
      return readdirSync(join(cache, 'cella/compiled'), { recursive: true, encoding: 'utf8' })
    }
    const own = join(folder, 'own-cache')
    assert.ok((await launch(own)).length > 2)
    assert.equal(statSync(join(own, 'cella/compiled')).mode & 0o777, 0o700)
    const open = join(folder, 'open-cache')
    mkdirSync(join(open, 'cella/compiled'), { recursive: true })
    chmodSync(join(open, 'cella/compiled'), 0o777)
    assert.deepEqual(await launch(open), [])
  })

  test('in JSON mode an error is one value with code, message and hint', async () => {
    const { code, stderr } = await cella(['--json', 'inspect', join(folder, 'absent.csv')])
    assert.equal(code, 1)
    const { error } = JSON.parse(stderr)
    assert.deepEqual(Object.keys(error), ['code', 'message', 'hint'])
  })

  test('a passphrase is never taken from an argument or the environment', async () => {
    const asArgument = await cella(['--passphrase', secret, 'keys', 'list'])
    assert.equal(asArgument.code, 2)
    const without = await cella(['keys', 'list'])
    assert.notEqual(without.code, 0)
  })

  test('without a server, status says so with code 3', async () => {
    const { code, stdout } = await cella(['status', '--json'])
    assert.equal(code, 3)
    assert.deepEqual(JSON.parse(stdout).running, false)
  })
})

describe('keys', () => {
  const own = ['--profile', 'keys', '--passphrase-fd', '3']

  test('are made, listed, split, restored and put under another passphrase', async () => {
    const made = await cella([...own, 'keys', 'list', '--create', '--json'], [secret])
    assert.equal(made.code, 0, made.stderr)
    const { keystore, account } = JSON.parse(made.stdout)
    assert.equal(statSync(keystore).mode & 0o777, 0o600)

    const shares = join(folder, 'shares')
    const backup = await cella(
      [...own, 'keys', 'backup', '--shares', '3', '--threshold', '2', '--output', shares],
      [secret],
    )
    assert.equal(backup.code, 0, backup.stderr)
    assert.equal(readdirSync(shares).length, 3)

    const restored = await cella(
      [
        '--profile',
        'restored',
        '--passphrase-fd',
        '3',
        'keys',
        'restore',
        join(shares, 'share-3.txt'),
        join(shares, 'share-1.txt'),
      ],
      ['another passphrase'],
    )
    assert.equal(restored.code, 0, restored.stderr)
    const changed = await cella(
      ['--profile', 'restored', '--passphrase-fd', '3', 'keys', 'change-passphrase', '--new-passphrase-fd', '4'],
      ['another passphrase', 'a third passphrase'],
    )
    assert.equal(changed.code, 0, changed.stderr)
    const old = await cella(['--profile', 'restored', '--passphrase-fd', '3', 'keys', 'list'], ['another passphrase'])
    assert.equal(old.code, 1)
    assert.match(old.stderr, /ERR_KEYSTORE_NOT_OPENED/)
    const listed = await cella(
      ['--profile', 'restored', '--passphrase-fd', '3', '--json', 'keys', 'list'],
      ['a third passphrase'],
    )
    assert.equal(JSON.parse(listed.stdout).account, account)
  })

  test('a second keystore over the first is refused, and too few shares restore nothing', async () => {
    const again = await cella([...own, 'keys', 'list', '--create'], [secret])
    assert.equal(again.code, 1)
    assert.match(again.stderr, /ERR_KEYSTORE_EXISTS/)
    const few = await cella(
      ['--profile', 'few', '--passphrase-fd', '3', 'keys', 'restore', join(folder, 'shares/share-1.txt')],
      [secret],
    )
    assert.equal(few.code, 1)
    assert.match(few.stderr, /ERR_BACKUP_TOO_FEW_SHARES/)
    assert.throws(() => statSync(join(home, 'profiles/few/keystore.json')))
  })

  test('a card holds public keys and nothing else, and no key is in any output', async () => {
    const { stdout, code } = await cella([...own, 'keys', 'list', '--card', 'Ada Example'], [secret])
    assert.equal(code, 0)
    const card = JSON.parse(stdout)
    assert.deepEqual(Object.keys(card), ['format', 'name', 'signingKey', 'hpkeKey'])
    assert.ok(!readFileSync(join(home, 'profiles/keys/keystore.json'), 'utf8').includes(card.signingKey))
  })
})

describe('inspect', () => {
  test('shows columns with a proposal and the reason, and no value unless asked', async () => {
    const file = join(folder, 'people.csv')
    writeFileSync(
      file,
      `name,wage\n${Array.from({ length: 30 }, (_, index) => `Zaphod ${index},${index}.5`).join('\n')}\n`,
    )
    const plain = await cella(['inspect', file])
    assert.equal(plain.code, 0, plain.stderr)
    assert.match(plain.stdout, /name +text +0 +30 +identifying +drop/)
    assert.ok(!plain.stdout.includes('Zaphod'))
    assert.ok((await cella(['inspect', file, '--examples'])).stdout.includes('Zaphod'))
  })

  test('a quote that is never closed is refused with its line, and read where quotes are plain characters', async () => {
    const file = join(folder, 'inches.csv')
    writeFileSync(file, 'name,size\nscrew,"5\nbolt,"7\n')
    const refused = await cella(['inspect', file])
    assert.equal(refused.code, 1)
    assert.match(refused.stderr, /line \d.*ERR_FILE_QUOTING\)\nhint: .*--quote none/)
    const read = await cella(['inspect', file, '--quote', 'none', '--json'])
    assert.equal(read.code, 0, read.stderr)
  })

  test('a column name can’t steer the terminal', async () => {
    const file = join(folder, 'hostile.csv')
    writeFileSync(file, 'a\u202eb,c\n1,2\n3,4\n5,6\n')
    const { stdout } = await cella(['inspect', file, '--header'])
    assert.ok(!stdout.includes('\u202e') && !stdout.includes('\u001b'))
  })
})

describe('policy', () => {
  test('says of a file which line is wrong', async () => {
    const file = join(folder, 'wrong.cedar')
    writeFileSync(file, 'permit (principal, action, resource)\nwhen { context.nonsense };\n')
    const { code, stdout } = await cella(['policy', 'show', '--file', file, '--json'])
    assert.equal(code, 1)
    assert.ok(JSON.parse(stdout).problems.length > 0)
  })
})

describe('witness', () => {
  test('makes its key once and prints it', async () => {
    const args = [
      '--json',
      'witness',
      'serve',
      '--name',
      'notary.example',
      '--data',
      join(folder, 'witness'),
      '--show-key',
    ]
    const log = encodeVkey(generateNoteSigner({ name: 'log.example', type: 'note' }).key)
    const refused = await cella([...args, '--log', 'nonsense'])
    assert.equal(refused.code, 2)
    const first = await cella([...args, '--log', log])
    assert.equal(first.code, 0, first.stderr)
    assert.match(JSON.parse(first.stdout).vkey, /^notary\.example\+/)
    assert.equal((await cella([...args, '--log', log])).stdout, first.stdout)
  })

  test('a mirror serves until it is told to end, and is no witness', async () => {
    const log = encodeVkey(generateNoteSigner({ name: 'log.example', type: 'note' }).key)
    const data = join(folder, 'mirror')
    const args = ['--name', 'mirror.example', '--log', log, '--listen', '127.0.0.1:0', '--data', data]
    const child = spawn(process.execPath, [launcher, '--home', home, '--json', 'witness', 'mirror', ...args])
    const [line] = await once(child.stdout, 'data')
    const { url, vkey } = JSON.parse(String(line)) as { url: string; vkey: string }
    assert.match(vkey, /^mirror\.example\+/)
    const upload = { method: 'POST', headers: { 'Content-Type': 'application/octet-stream' }, body: 'x' }
    assert.equal((await fetch(`${url}/add-entries`, upload)).status, 400)
    child.kill('SIGTERM')
    assert.deepEqual((await once(child, 'exit'))[0], 0)
    const refused = await cella(['witness', 'serve', '--config', join(data, 'config.json')])
    assert.deepEqual([refused.code, /is of no witness/.test(refused.stderr)], [2, true], refused.stderr)
  })
})
