import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { type Digest, Secret } from '@cella/bytes'
import { TreeBuilder } from '@cella/log'
import { SdkError } from '../error.ts'
import { memberCard } from '../keys.ts'
import { createProfileKeystore, keysOf, openProfileKeystore } from '../keystore.ts'
import { logPolicyFor, petname } from './anchors.ts'
import { openHome } from './home.ts'

const folder = await mkdtemp(join(tmpdir(), 'cella-home-'))
after(() => rm(folder, { recursive: true, force: true }))
let count = 0
const fresh = () => openHome({ folder: join(folder, `${count++}`), env: {} })
const code = (wanted: SdkError['code']) => (error: unknown) => error instanceof SdkError && error.code === wanted

test('an empty home is usable and writes nothing by being opened', async () => {
  const home = await fresh()
  assert.deepEqual(await home.profile(), { manager: null, tlsPin: null, organisation: null, membership: null })
  assert.deepEqual((await home.anchors()).organisations, [])
  assert.deepEqual(await home.profiles(), [])
  await assert.rejects(stat(home.folder))
})

test('what is kept is there again, readable by its owner alone', async () => {
  const home = await fresh()
  await home.saveProfile({ manager: 'http://127.0.0.1:1' })
  await home.saveProfile({ organisation: 'ab'.repeat(32) as Digest })
  const again = await openHome({ folder: home.folder, env: {} })
  assert.deepEqual(await again.profile(), {
    manager: 'http://127.0.0.1:1',
    tlsPin: null,
    organisation: 'ab'.repeat(32),
    membership: null,
  })
  if (process.platform === 'win32') return
  assert.equal((await stat(join(home.folder, 'profiles/default/profile.json'))).mode & 0o777, 0o600)
  assert.equal((await stat(join(home.folder, 'profiles/default'))).mode & 0o777, 0o700)
})

test('a file that was changed by hand into something else is refused by name', async () => {
  const home = await fresh()
  await home.saveProfile({ manager: null })
  const file = join(home.folder, 'profiles/default/profile.json')
  for (const text of [
    '',
    '{',
    '[]',
    '{"format":"cella-profile/2"}',
    `${(await readFile(file, 'utf8')).replace('null', '1')}`,
  ]) {
    await writeFile(file, text)
    await assert.rejects(home.profile(), code('ERR_HOME_MALFORMED'))
  }
})

test('a profile’s name can’t lead elsewhere', async () => {
  for (const profile of ['..', 'a/b', '', 'A', '.x']) {
    await assert.rejects(openHome({ folder, profile, env: {} }), code('ERR_HOME_MALFORMED'))
  }
})

test('environment, then configuration, then default name home and profile', async () => {
  const home = await openHome({ env: { CELLA_HOME: join(folder, 'env'), CELLA_PROFILE: 'other' } })
  assert.deepEqual([home.folder, home.profileName], [join(folder, 'env'), 'other'])
})

test('the memory of a log never goes back', async () => {
  const home = await fresh()
  const memory = (size: number) => {
    const tree = new TreeBuilder()
    for (let index = 0; index < size; index++) tree.append(new Uint8Array(32).fill(index))
    return { origin: 'log.example', size, root: tree.root(), edge: tree.edge() }
  }
  await home.saveLogMemory(memory(9))
  await home.saveLogMemory(memory(4))
  assert.equal((await home.logMemory('log.example'))?.size, 9)
  assert.equal(await home.logMemory('another.example'), undefined)
})

test('a log that the owner named no policy for is not trusted', async () => {
  const home = await fresh()
  const anchors = await home.anchors()
  assert.throws(() => logPolicyFor(anchors, 'log.example'), code('ERR_LOG_UNTRUSTED'))
  assert.equal(petname(anchors, 'ab'.repeat(32)), undefined)
})

test('a keystore gives the same keys again, and prints none of them', async () => {
  const home = await fresh()
  const passphrase = () => new Secret(new TextEncoder().encode('long enough'))
  const made = await createProfileKeystore(home, passphrase(), {
    testOnlyAllowWeakKdf: true,
    kdf: { memoryKib: 64, passes: 1, parallelism: 1 },
  })
  const keys = await keysOf(made)
  const reopened = await openProfileKeystore(home, passphrase(), { testOnlyAllowWeakKdf: true })
  const again = await keysOf(reopened)
  assert.deepEqual(memberCard(again, 'x'), memberCard(keys, 'x'))
  assert.equal(JSON.stringify(keys.account.seed), '"[secret]"')
})
