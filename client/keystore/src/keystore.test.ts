import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, beforeEach, test } from 'node:test'
import { inspect } from 'node:util'
import { encodeHex, encodeUtf8, Secret } from '@cella/bytes'
import { randomBytes } from '@cella/primitives'
import fc from 'fast-check'
import { encodeEntries, type KeyEntry, parseEntries } from './entries.ts'
import { KeystoreError } from './error.ts'
import { deriveKey } from './file-format.ts'
import { createKeystore, type Keystore, openKeystore } from './keystore.ts'

const kdf = { memoryKib: 8, passes: 1, parallelism: 1 }
const weak = { testOnlyAllowWeakKdf: true }
const phrase = (text = 'correct horse battery'): Secret => new Secret(encodeUtf8(text))
const key = (kind: KeyEntry['kind'], name: string): KeyEntry => ({ kind, name, secret: randomBytes(32) })
const root = mkdtempSync(join(tmpdir(), 'cella-keystore-'))
after(() => rmSync(root, { recursive: true }))

// Elsewhere a lock names its holder by number alone.
const noProc = { skip: existsSync('/proc/self/stat') ? false : 'this system has no /proc' }

let folder = ''
let path = ''
let count = 0
beforeEach(() => {
  folder = join(root, String(count++))
  path = join(folder, 'keys')
})
const create = (): Promise<Keystore> => createKeystore(path, phrase(), { kdf, ...weak })
const open = (text?: string): Promise<Keystore> => openKeystore(path, phrase(text), weak)

test('opens with what was put in, in a file of 0600 in a folder of 0700', async () => {
  const keystore = await create()
  const entries = [key('signing', 'ada'), key('hpke', 'ada'), key('dek', 'ab'.repeat(32)), key('root', 'organisation')]
  await keystore.add(...entries)
  const again = await open()
  assert.deepEqual(again.list(), [
    { kind: 'dek', name: 'ab'.repeat(32) },
    { kind: 'hpke', name: 'ada' },
    { kind: 'root', name: 'organisation' },
    { kind: 'signing', name: 'ada' },
  ])
  assert.deepEqual(again.list('hpke'), [{ kind: 'hpke', name: 'ada' }])
  for (const { kind, name, secret } of entries) assert.deepEqual(again.get(kind, name).expose(), secret)
  assert.equal(statSync(path).mode & 0o777, 0o600)
  assert.equal(statSync(folder).mode & 0o777, 0o700)
  assert.deepEqual(readdirSync(folder), ['keys'])
})

test('the file tells neither names nor keys', async () => {
  const keystore = await create()
  const entry = key('signing', 'a-name-to-be-found')
  await keystore.add(entry)
  const bytes = readFileSync(path)
  assert.equal(bytes.indexOf('a-name-to-be-found'), -1)
  assert.equal(bytes.indexOf(entry.secret), -1)
  assert.ok(!inspect(keystore, { depth: 9, showHidden: true }).includes(encodeHex(entry.secret).slice(0, 16)))
})

test('a taken name, an absent one and a malformed key are refused, with the file as it was', async () => {
  const keystore = await create()
  await keystore.add(key('signing', 'ada'))
  const before = readFileSync(path)
  await assert.rejects(keystore.add(key('hpke', 'new'), key('signing', 'ada')), { code: 'ERR_KEYSTORE_ENTRY_EXISTS' })
  await assert.rejects(keystore.add(key('hpke', 'x'), key('hpke', 'x')), { code: 'ERR_KEYSTORE_ENTRY_EXISTS' })
  await assert.rejects(keystore.remove('hpke', 'ada'), { code: 'ERR_KEYSTORE_ENTRY_ABSENT' })
  assert.throws(() => keystore.get('dek', 'ada'), { code: 'ERR_KEYSTORE_ENTRY_ABSENT' })
  await assert.rejects(keystore.add({ kind: 'signing', name: 'short', secret: new Uint8Array(31) }), RangeError)
  await assert.rejects(keystore.add(key('dek', 'not a digest')), { name: 'FormatError' })
  await assert.rejects(keystore.add(key('other' as 'dek', 'x')), TypeError)
  await assert.rejects(keystore.add(key('root', '')), RangeError)
  assert.deepEqual(readFileSync(path), before)
  assert.deepEqual(keystore.list(), [{ kind: 'signing', name: 'ada' }])
})

test('what is removed is gone', async () => {
  const keystore = await create()
  await keystore.add(key('signing', 'ada'), key('signing', 'bob'))
  await keystore.remove('signing', 'ada')
  assert.deepEqual((await open()).list(), [{ kind: 'signing', name: 'bob' }])
})

test('a wrong passphrase and an altered file have one code and one text', async () => {
  await create()
  const wrong = await open('another passphrase').catch((error: unknown) => error as KeystoreError)
  const bytes = readFileSync(path)
  bytes[bytes.length - 1]! ^= 1
  writeFileSync(path, bytes)
  const altered = await open().catch((error: unknown) => error as KeystoreError)
  assert.ok(wrong instanceof KeystoreError && altered instanceof KeystoreError)
  assert.equal(wrong.code, 'ERR_KEYSTORE_NOT_OPENED')
  assert.equal(altered.code, 'ERR_KEYSTORE_NOT_OPENED')
  assert.equal(wrong.message, altered.message)
})

test('every changed byte, every truncation and anything appended is refused', async () => {
  await (await create()).add(key('signing', 'ada'))
  const bytes = readFileSync(path)
  const refused = async (changed: Uint8Array, what: string): Promise<void> => {
    writeFileSync(path, changed)
    await assert.rejects(open(), { name: 'KeystoreError', code: /NOT_OPENED|MALFORMED/ }, what)
  }
  for (let at = 0; at < bytes.length; at++) {
    const changed = Buffer.from(bytes)
    changed[at]! ^= 1
    await refused(changed, `byte ${at}`)
  }
  for (let length = 0; length < bytes.length; length++) await refused(bytes.subarray(0, length), `length ${length}`)
  await refused(Buffer.concat([bytes, Buffer.of(0)]), 'appended')
})

test('parameters under the floor or over the ceiling are refused before any work', async () => {
  for (const change of [{ memoryKib: 65_535 }, { passes: 2 }, { parallelism: 0 }, { memoryKib: 2 ** 21 + 1 }]) {
    const tried = { memoryKib: 65_536, passes: 3, parallelism: 1, ...change }
    await assert.rejects(createKeystore(path, phrase(), { kdf: tried }), { code: 'ERR_KEYSTORE_MALFORMED' })
  }
  await create()
  await assert.rejects(openKeystore(path, phrase()), { code: 'ERR_KEYSTORE_MALFORMED' })
  const bytes = readFileSync(path)
  bytes.writeUInt32BE(0xffffffff, 16)
  writeFileSync(path, bytes)
  await assert.rejects(open(), { code: 'ERR_KEYSTORE_MALFORMED' })
})

test('without options the parameters are the floor, and are recorded', async () => {
  await createKeystore(path, phrase())
  const bytes = readFileSync(path)
  assert.equal(bytes.subarray(0, 16).toString(), 'cella-keystore/1')
  assert.deepEqual(
    [16, 20, 24].map((at) => bytes.readUInt32BE(at)),
    [65_536, 3, 1],
  )
  assert.deepEqual((await openKeystore(path, phrase())).list(), [])
})

test('a weak passphrase is refused', async () => {
  await assert.rejects(createKeystore(path, phrase('1234567'), { kdf, ...weak }), { code: 'ERR_PASSPHRASE_WEAK' })
  const keystore = await create()
  await assert.rejects(keystore.changePassphrase(phrase('')), { code: 'ERR_PASSPHRASE_WEAK' })
})

test('a keystore is never made over another', async () => {
  await create()
  await assert.rejects(create(), { code: 'ERR_KEYSTORE_EXISTS' })
  await assert.rejects(openKeystore(join(folder, 'absent'), phrase()), { code: 'ERR_KEYSTORE_UNAVAILABLE' })
  await assert.rejects(openKeystore(folder, phrase()), { code: 'ERR_KEYSTORE_UNAVAILABLE' })
})

test('files and folders that others can reach are refused, also for writing', async () => {
  const keystore = await create()
  for (const mode of [0o640, 0o604, 0o620, 0o602, 0o610]) {
    chmodSync(path, mode)
    await assert.rejects(open(), { code: 'ERR_KEYSTORE_PERMISSIONS' }, mode.toString(8))
    await assert.rejects(keystore.add(key('root', 'x')), { code: 'ERR_KEYSTORE_PERMISSIONS' })
  }
  chmodSync(path, 0o600)
  symlinkSync(path, join(folder, 'alias'))
  assert.deepEqual((await openKeystore(join(folder, 'alias'), phrase(), weak)).list(), [])
  for (const mode of [0o750, 0o705, 0o770]) {
    chmodSync(folder, mode)
    await assert.rejects(open(), { code: 'ERR_KEYSTORE_PERMISSIONS' }, mode.toString(8))
  }
  const shared = join(root, 'shared')
  mkdirSync(shared, { mode: 0o755 })
  await assert.rejects(createKeystore(join(shared, 'keys'), phrase(), { kdf, ...weak }), {
    code: 'ERR_KEYSTORE_PERMISSIONS',
  })
  assert.deepEqual(readdirSync(shared), [])
})

test('a changed passphrase opens, the old one does not, and an older handle says so', async () => {
  const keystore = await create()
  const other = await open()
  await keystore.add(key('signing', 'ada'))
  await keystore.changePassphrase(phrase('a wholly new one'))
  assert.deepEqual((await open('a wholly new one')).list(), [{ kind: 'signing', name: 'ada' }])
  await assert.rejects(open(), { code: 'ERR_KEYSTORE_NOT_OPENED' })
  await assert.rejects(other.add(key('root', 'x')), { code: 'ERR_KEYSTORE_CHANGED' })
  await keystore.add(key('root', 'y'))
  assert.equal((await open('a wholly new one')).list().length, 2)
})

test('writers at the same time lose nothing', async () => {
  await create()
  const keystores = await Promise.all(Array.from({ length: 6 }, () => open()))
  await Promise.all(keystores.map((keystore, index) => keystore.add(key('root', `key ${index}`))))
  assert.equal((await open()).list().length, 6)
  await keystores[0]!.reload()
  assert.equal(keystores[0]!.list().length, 6)
  assert.deepEqual(readdirSync(folder), ['keys'])
})

test(
  'a lock of a living process is waited for and then named; one of a dead process is taken over',
  noProc,
  async () => {
    await create()
    const keystore = await openKeystore(path, phrase(), { ...weak, lockWaitMs: 60 })
    const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000); console.log(1)'], { stdio: 'pipe' })
    await once(child.stdout, 'data')
    const stat = readFileSync(`/proc/${child.pid}/stat`, 'utf8')
    const start = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
    writeFileSync(`${path}.lock`, `${child.pid} ${start}\n`)
    await assert.rejects(keystore.add(key('root', 'x')), {
      code: 'ERR_KEYSTORE_LOCKED',
      message: new RegExp(`${child.pid}`),
    })
    // The same process number, but a process that began at another time.
    writeFileSync(`${path}.lock`, `${child.pid} 1\n`)
    await keystore.add(key('root', 'first'))
    writeFileSync(`${path}.lock`, `${child.pid} ${start}\n`)
    child.kill('SIGKILL')
    await once(child, 'exit')
    await keystore.add(key('root', 'second'))
    assert.equal((await open()).list().length, 2)
    assert.deepEqual(readdirSync(folder), ['keys'])
  },
)

test('SIGKILL during a write leaves the old keys or the new ones, and the next writer goes on', async () => {
  await create()
  const entry = new URL('./keystore.ts', import.meta.url).href
  const script = `
    const { openKeystore } = await import(${JSON.stringify(entry)})
    const { Secret } = await import('@cella/bytes')
    const keystore = await openKeystore(process.argv[1], new Secret(Buffer.from('correct horse battery')), { testOnlyAllowWeakKdf: true })
    const first = keystore.list().length
    for (let index = first; ; index++) {
      await keystore.add({ kind: 'root', name: 'key ' + index, secret: new Uint8Array(32) })
      process.stdout.write(index + '\\n')
    }`
  let acknowledged = -1
  for (let kill = 0; kill < 5; kill++) {
    const child = spawn(process.execPath, ['--input-type=module', '-e', script, path], {
      stdio: 'pipe',
      cwd: import.meta.dirname,
    })
    let output = ''
    child.stdout.on('data', (piece) => {
      output += piece
    })
    await once(child.stdout, 'data')
    await new Promise((resolve) => setTimeout(resolve, kill * 5))
    child.kill('SIGKILL')
    await once(child, 'close')
    acknowledged = Math.max(acknowledged, ...output.split('\n').slice(0, -1).map(Number))
    const names = (await open()).list().map(({ name }) => name)
    assert.ok(names.length > acknowledged, 'an acknowledged key is there')
    assert.ok(names.length <= acknowledged + 2, 'at most the one under way besides')
  }
  await (await open()).add(key('signing', 'after'))
})

test('destroyed keystores hold nothing', async () => {
  const keystore = await createKeystore(path, phrase(), { kdf, ...weak, entries: [key('root', 'x')] })
  assert.ok(keystore.has('root', 'x'))
  keystore.destroy()
  assert.deepEqual(keystore.list(), [])
})

const entryArbitrary = fc.record({
  kind: fc.constantFrom('hpke' as const, 'root' as const, 'signing' as const),
  name: fc.string({ minLength: 1, maxLength: 20, unit: 'grapheme' }),
  secret: fc.uint8Array({ minLength: 32, maxLength: 32 }),
})

test('entries are what was encoded; every other spelling of them is refused', () => {
  const distinct = { selector: (entry: KeyEntry) => `${entry.kind} ${entry.name}`, maxLength: 8 }
  fc.assert(
    fc.property(fc.uniqueArray(entryArbitrary, distinct), (entries) => {
      const bytes = encodeEntries(entries)
      const parsed = parseEntries(bytes)
      assert.equal(parsed.length, entries.length)
      assert.deepEqual(encodeEntries(parsed), bytes)
      assert.deepEqual(encodeEntries([...entries].reverse()), bytes)
    }),
  )
  const secret = 'A'.repeat(43)
  const malformed = [
    '',
    '{}',
    'null',
    '[]',
    '{"entries":{}}',
    '{"entries":[],"more":1}',
    '{"entries":[null]}',
    `{"entries":[{"kind":"root","name":"x"}]}`,
    `{"entries":[{"kind":"none","name":"x","secret":"${secret}"}]}`,
    `{"entries":[{"kind":"root","name":"","secret":"${secret}"}]}`,
    `{"entries":[{"kind":"dek","name":"x","secret":"${secret}"}]}`,
    `{"entries":[{"kind":"root","name":"x","secret":"${secret}","z":1}]}`,
    `{"entries":[{"kind":"root","name":"x","secret":"AAAA"}]}`,
    `{"entries":[{"kind":"root","name":"y","secret":"${secret}"},{"kind":"root","name":"x","secret":"${secret}"}]}`,
    `{"entries":[{"kind":"root","name":"x","secret":"${secret}"},{"kind":"root","name":"x","secret":"${secret}"}]}`,
    `{"entries": [] }`,
  ]
  for (const text of malformed) {
    assert.throws(() => parseEntries(encodeUtf8(text)), { code: 'ERR_KEYSTORE_MALFORMED' }, text)
  }
})

test('the derivation is Argon2id of RFC 9106', async () => {
  // Recomputed from `argon2` (the reference program): password "password", salt "somesalt", t=2, m=64 MiB, p=1, 32 bytes.
  const derived = await deriveKey(phrase('password'), encodeUtf8('somesalt'), {
    memoryKib: 65_536,
    passes: 2,
    parallelism: 1,
  })
  assert.equal(encodeHex(derived), '09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7')
})
