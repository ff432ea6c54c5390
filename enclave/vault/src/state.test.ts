import assert from 'node:assert/strict'
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { Digest } from '@cella/bytes'
import { otherLaunch, teeOf, temporaryFolder, vaultLaunch } from '@cella/testing/vaults'
import { VaultState } from './index.ts'
import { kekOf } from './keys.ts'

const organisation = 'a'.repeat(64) as Digest
const another = 'b'.repeat(64) as Digest
const open = async (folder: string, launch = vaultLaunch) => VaultState.open(await teeOf(launch), folder)

test('identity and secrets survive a restart; each organisation has its own', async () => {
  const folder = temporaryFolder()
  const first = await open(folder)
  const { secret, kek } = await first.bear(organisation)
  const second = await open(folder)
  assert.equal(second.id, first.id)
  const again = await second.bear(organisation)
  assert.deepEqual(again.secret, secret)
  assert.equal((await kekOf(again.kek)).id, (await kekOf(kek)).id)
  assert.notDeepEqual((await second.bear(another)).secret, secret)
})

test('a secret is born once, however many ask at once', async () => {
  const state = await open(temporaryFolder())
  const holdings = await Promise.all(Array.from({ length: 20 }, () => state.bear(organisation)))
  for (const holding of holdings) assert.deepEqual(holding, holdings[0])
})

test('asking for a secret that was never born gives none and makes none', async () => {
  const state = await open(temporaryFolder())
  assert.equal(await state.holding(organisation), undefined)
  assert.equal(await state.holding(organisation), undefined)
})

test('memories of the log that are kept at once: the last one stays', async () => {
  const folder = temporaryFolder()
  const state = await open(folder)
  const memory = (origin: string) => ({ origin, size: 0, root: emptyRootBytes, edge: [] })
  await Promise.all(Array.from({ length: 20 }, (_, at) => state.keepLogMemory(memory(`log.example/${at}`))))
  assert.equal((await (await open(folder)).logMemory())?.origin, 'log.example/19')
  assert.deepEqual(
    readdirSync(folder).filter((name) => name.endsWith('.tmp')),
    [],
  )
})

const emptyRootBytes = Uint8Array.fromHex('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855')

test('a vault of another measurement opens nothing of it', async () => {
  const folder = temporaryFolder()
  const first = await open(folder)
  await first.bear(organisation)
  await assert.rejects(open(folder, otherLaunch), { code: 'ERR_STATE_NOT_OPENED' })
  // Not even with an identity of its own.
  rmSync(join(folder, 'identity.sealed'))
  const upstart = await open(folder, otherLaunch)
  assert.notEqual(upstart.id, first.id)
  await assert.rejects(upstart.bear(organisation), { code: 'ERR_STATE_NOT_OPENED' })
})

test('no file that is altered, cut, or put in another’s place opens', async () => {
  const folder = temporaryFolder()
  const state = await open(folder)
  await state.bear(organisation)
  await state.bear(another)
  const path = join(folder, 'organisations', `${organisation}.sealed`)
  const sealed = readFileSync(path)
  const others = [
    sealed.subarray(0, -1),
    Buffer.concat([sealed, Buffer.of(0)]),
    Buffer.alloc(0),
    readFileSync(join(folder, 'organisations', `${another}.sealed`)),
    readFileSync(join(folder, 'identity.sealed')),
    ...Array.from(sealed.keys(), (at) => {
      const changed = Buffer.from(sealed)
      changed[at]! ^= 1
      return changed
    }),
  ]
  for (const bytes of others) {
    writeFileSync(path, bytes)
    await assert.rejects((await open(folder)).bear(organisation), { code: 'ERR_STATE_NOT_OPENED' })
  }
})

test('no secret is on the disk in the clear, and files are for their user alone', async () => {
  const folder = temporaryFolder()
  const state = await open(folder)
  const { secret, kek } = await state.bear(organisation)
  const secrets = [state.signingSeed, secret, kek].map((bytes) => Buffer.from(bytes))
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.sealed'))
  assert.equal(files.length, 2)
  for (const file of files) {
    for (const secret of secrets) assert.ok(!readFileSync(join(folder, file)).includes(secret))
  }
})
