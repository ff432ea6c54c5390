import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { parseDocumentOf } from '@cella/documents'
import { buildEnclaves, signBuilds } from '../scripts/build-enclave.ts'

const folders = await Promise.all([mkdtemp(join(tmpdir(), 'cella-a-')), mkdtemp(join(tmpdir(), 'cella-bundles-'))])
after(() => Promise.all(folders.map((folder) => rm(folder, { recursive: true }))))
const [first, second] = await Promise.all(folders.map((folder) => buildEnclaves(folder)))

/** What may be inside. A new package needs a decision record. */
const packagesInside: Record<string, readonly string[]> = {
  vault: ['@cedar-policy/cedar-wasm', 'hpke', 'zod'],
  worker: ['@cedar-policy/cedar-wasm', 'hpke', 'shamir-secret-sharing', 'zod'],
  runner: [],
  attest: ['@xmldom/xmldom', 'hpke', 'zod'],
  'log-signer': ['hpke', 'zod'],
}

test('two builds in two folders are byte-equal', async () => {
  assert.equal(first!.length, 5)
  for (const { file } of first!) {
    const [a, b] = await Promise.all(folders.map((folder) => readFile(join(folder, file))))
    assert.ok(a!.length > 10_000)
    assert.ok(a!.equals(b!), `${file} differs between ${folders.join(' and ')}`)
    assert.ok(!a!.includes(folders[0]!), `${file} has the path of the folder it was built in`)
  }
})

for (const { role, packages } of first!) {
  test(`the ${role} bundle holds the listed third-party packages and no other`, () => {
    assert.deepEqual(Object.keys(packages), packagesInside[role])
  })
}

test('the Build documents name the bundles, and change when a bundle does', async () => {
  const { builds } = await signBuilds(folders[0]!, first!)
  const worker = parseDocumentOf('cella/build', builds.worker).payload
  assert.deepEqual(
    worker.files.map(({ digest }) => digest),
    [first!.find(({ role }) => role === 'worker')!.digest, first!.find(({ role }) => role === 'runner')!.digest],
  )
  const altered = second!.map((bundle) => ({
    ...bundle,
    digest: bundle.digest.replace(/^./, (c) => (c === '0' ? '1' : '0')),
  }))
  const other = await signBuilds(folders[1]!, altered as typeof second & object)
  assert.notEqual(
    parseDocumentOf('cella/build', other.builds.worker).payload.measurements[0]!.measurement,
    worker.measurements[0]!.measurement,
  )
})
