import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { ownEnclaves } from './enclaves.ts'
import type { InstallationOptions } from './options.ts'

test('bundles of before there was a log signer are refused by their folder, and not kept', async (context) => {
  const folder = mkdtempSync(join(tmpdir(), 'cella-enclaves-'))
  context.after(() => rmSync(folder, { recursive: true }))
  const builds = { vault: 'v', worker: 'w' }
  const bundles = ['vault.mjs', 'log-signer.mjs'].map((file) => ({ role: file.slice(0, -4), file }))
  for (const { file } of bundles) writeFileSync(join(folder, file), '')
  const write = (more: object): void =>
    writeFileSync(
      join(folder, 'builds.json'),
      JSON.stringify({ organisation: 'o', builds: { ...builds, ...more }, bundles, options: [] }),
    )
  const start = (dataFolder: string, logSigner: 'enclave' | 'host') =>
    ownEnclaves(
      { dataFolder, logSigner, enclaves: folder, root: folder } as InstallationOptions,
      new AbortController().signal,
    )

  write({})
  const data = join(folder, 'data')
  await assert.rejects(start(data, 'enclave'), ({ code, message }) => {
    assert.equal(code, 'ERR_ENCLAVES_MISSING')
    return message.startsWith(`${folder} was built without`)
  })
  assert.ok(!existsSync(join(data, 'enclaves')))
  assert.equal((await start(join(folder, 'other'), 'host')).folder, join(folder, 'other/enclaves'))
  // The same data folder, once they are built.
  write({ logSigner: 's' })
  assert.equal((await start(data, 'enclave')).builds.logSigner, 's')
})
