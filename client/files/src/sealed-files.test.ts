import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, beforeEach, test } from 'node:test'
import { randomBytes } from '@cella/primitives'
import { generateDek, openBytes, type Sealed } from '@cella/seal'
import { writeAtomically, writeFileAtomically } from './atomic-file.ts'
import { openFile, type Progress, sealFile } from './sealed-files.ts'
import { directLengthMin } from './sequential-writer.ts'

const chunkSizeLog2 = 16
const chunkSize = 2 ** chunkSizeLog2
const dek = generateDek()
const root = mkdtempSync(join(tmpdir(), 'cella-files-'))
after(() => rmSync(root, { recursive: true }))
let folder = ''
let folders = 0
beforeEach(() => {
  folder = join(root, String(folders++))
  mkdirSync(folder)
})
const at = (name: string): string => join(folder, name)

async function sealed(size: number): Promise<{ id: Sealed; plaintext: Uint8Array }> {
  const plaintext = randomBytes(size)
  writeFileSync(at('plain'), plaintext)
  const id = await sealFile({ source: at('plain'), target: at('sealed'), dek, chunkSizeLog2 })
  return { id, plaintext }
}

for (const size of [0, 1, chunkSize - 1, chunkSize, chunkSize + 1, 5 * chunkSize + 77]) {
  test(`opens what it sealed, file to file: ${size} bytes`, async () => {
    const { id, plaintext } = await sealed(size)
    assert.equal(statSync(at('sealed')).size, id.size)
    assert.deepEqual(openBytes({ dek, expected: id, sealed: readFileSync(at('sealed')) }), new Uint8Array(plaintext))
    const options = { source: at('sealed'), target: at('opened'), dek, expected: id }
    assert.deepEqual(await openFile({ ...options, outboard: id.outboard }), { plaintextSize: size })
    assert.deepEqual(new Uint8Array(readFileSync(at('opened'))), plaintext)
    await openFile({ ...options, overwrite: true })
    assert.deepEqual(new Uint8Array(readFileSync(at('opened'))), plaintext)
    assert.equal(statSync(at('opened')).mode & 0o777, 0o600)
    assert.deepEqual(readdirSync(folder).sort(), ['opened', 'plain', 'sealed'])
  })
}

test('a file large enough to go past the page cache is the same file', async () => {
  for (const size of [directLengthMin, directLengthMin + 12_345]) {
    const plaintext = randomBytes(size)
    writeFileSync(at('plain'), plaintext)
    const options = { dek, overwrite: true }
    const id = await sealFile({ ...options, source: at('plain'), target: at('sealed') })
    const bytes = readFileSync(at('sealed'))
    assert.equal(Buffer.compare(openBytes({ dek, expected: id, sealed: bytes }), plaintext), 0)
    await openFile({ ...options, source: at('sealed'), target: at('opened'), expected: id, outboard: id.outboard })
    assert.equal(Buffer.compare(readFileSync(at('opened')), plaintext), 0)
    bytes[bytes.length - 1]! ^= 1
    writeFileSync(at('sealed'), bytes)
    await assert.rejects(openFile({ ...options, source: at('sealed'), target: at('opened'), expected: id }), {
      code: 'ERR_SEAL_CHUNK_NOT_OPENED',
    })
    assert.deepEqual(readdirSync(folder).sort(), ['opened', 'plain', 'sealed'])
  }
})

test('progress counts every byte of the source, to its end', async () => {
  const { id } = await sealed(3 * chunkSize + 5)
  const seen: Progress[] = []
  const onProgress = (progress: Progress): void => void seen.push(progress)
  await openFile({ source: at('sealed'), target: at('opened'), dek, expected: id, onProgress })
  assert.equal(seen.length, 4)
  assert.ok(seen.every(({ bytesTotal }) => bytesTotal === id.size))
  assert.equal(seen.at(-1)?.bytesDone, id.size - 80)
})

test('the outboard lies where it was asked for', async () => {
  writeFileSync(at('plain'), randomBytes(100))
  const id = await sealFile({ source: at('plain'), target: at('sealed'), outboard: at('leaves'), dek })
  assert.deepEqual(new Uint8Array(readFileSync(at('leaves'))), id.outboard)
})

type Change = (bytes: Buffer) => Uint8Array
const refusals: { name: string; change: Change; code: string }[] = [
  { name: 'a truncated file', change: (bytes) => bytes.subarray(0, -1), code: 'ERR_SEAL_TRUNCATED' },
  { name: 'an empty file', change: () => new Uint8Array(0), code: 'ERR_SEAL_TRUNCATED' },
  {
    name: 'a file with a byte appended',
    change: (bytes) => Buffer.concat([bytes, Buffer.of(0)]),
    code: 'ERR_SEAL_TRAILING_BYTES',
  },
  {
    name: 'a bit flipped in the last chunk',
    change: (bytes) => bytes.fill(bytes.at(-1)! ^ 1, bytes.length - 1),
    code: 'ERR_SEAL_CHUNK_NOT_OPENED',
  },
]
for (const { name, change, code } of refusals) {
  test(`refuses ${name} and leaves neither target nor temporary file`, async () => {
    const { id } = await sealed(3 * chunkSize)
    writeFileSync(at('sealed'), change(readFileSync(at('sealed'))))
    await assert.rejects(openFile({ source: at('sealed'), target: at('opened'), dek, expected: id }), { code })
    assert.deepEqual(readdirSync(folder).sort(), ['plain', 'sealed'])
  })
}

test('a wrong root digest leaves no target although every chunk opened', async () => {
  const { id } = await sealed(2 * chunkSize)
  const expected = { ...id, rootDigest: 'cd'.repeat(32) as Sealed['rootDigest'] }
  await assert.rejects(openFile({ source: at('sealed'), target: at('opened'), dek, expected }), {
    code: 'ERR_SEAL_DIGEST_MISMATCH',
  })
  assert.deepEqual(readdirSync(folder).sort(), ['plain', 'sealed'])
})

test('a failed open leaves an older target as it was, overwrite or not', async () => {
  const { id } = await sealed(chunkSize)
  writeFileSync(at('opened'), 'older')
  const options = { source: at('sealed'), target: at('opened'), expected: id }
  await assert.rejects(openFile({ ...options, dek: generateDek(), overwrite: true }), { code: 'ERR_SEAL_WRONG_KEY' })
  await assert.rejects(openFile({ ...options, dek }), { code: 'ERR_FILES_TARGET_EXISTS' })
  assert.equal(readFileSync(at('opened'), 'utf8'), 'older')
})

test('refuses to overwrite a target that appears while it works', async () => {
  await assert.rejects(
    writeAtomically(at('target'), {}, async (handle) => {
      await handle.writeFile('mine')
      writeFileSync(at('target'), 'theirs')
    }),
    { code: 'ERR_FILES_TARGET_EXISTS' },
  )
  assert.equal(readFileSync(at('target'), 'utf8'), 'theirs')
  assert.deepEqual(readdirSync(folder), ['target'])
})

test('sources and targets that the system refuses are named errors', async () => {
  const options = { dek, target: at('sealed') }
  await assert.rejects(sealFile({ ...options, source: at('absent') }), { code: 'ERR_FILES_SOURCE_UNAVAILABLE' })
  await assert.rejects(sealFile({ ...options, source: folder }), { code: 'ERR_FILES_SOURCE_UNAVAILABLE' })
  writeFileSync(at('plain'), 'x')
  await assert.rejects(sealFile({ dek, source: at('plain'), target: at('no/such/folder') }), {
    code: 'ERR_FILES_TARGET_UNAVAILABLE',
  })
  await assert.rejects(writeFileAtomically(at('no/such'), new Uint8Array(1), {}), {
    code: 'ERR_FILES_TARGET_UNAVAILABLE',
  })
})

test('a source that grows while it is sealed is refused', async () => {
  writeFileSync(at('plain'), randomBytes(3 * chunkSize))
  const onProgress = (): void => writeFileSync(at('plain'), 'more', { flag: 'a' })
  await assert.rejects(sealFile({ source: at('plain'), target: at('sealed'), dek, chunkSizeLog2, onProgress }), {
    code: 'ERR_FILES_SOURCE_CHANGED',
  })
  assert.deepEqual(readdirSync(folder), ['plain'])
})

test('an aborted job stops and leaves nothing', async () => {
  writeFileSync(at('plain'), randomBytes(10 * chunkSize))
  const controller = new AbortController()
  const onProgress = (): void => controller.abort()
  const { signal } = controller
  await assert.rejects(
    sealFile({ source: at('plain'), target: at('sealed'), dek, chunkSizeLog2, onProgress, signal }),
    {
      name: 'AbortError',
    },
  )
  assert.deepEqual(readdirSync(folder), ['plain'])
})

test('replacing keeps the permissions that were asked for', async () => {
  writeFileSync(at('target'), 'old')
  chmodSync(at('target'), 0o644)
  await writeFileAtomically(at('target'), Buffer.from('new'), { overwrite: true, mode: 0o600 })
  assert.equal(readFileSync(at('target'), 'utf8'), 'new')
  assert.equal(statSync(at('target')).mode & 0o777, 0o600)
})

test('SIGKILL while replacing leaves the old file or the new one, whole', async () => {
  const entry = new URL('./atomic-file.ts', import.meta.url).href
  const script = `
    const { writeFileAtomically } = await import(${JSON.stringify(entry)})
    for (let round = 0; ; round++) {
      await writeFileAtomically(process.argv[1], Buffer.alloc(200_000, round % 256), { overwrite: true })
      if (round === 0) process.stdout.write('.')
    }`
  for (let kill = 0; kill < 5; kill++) {
    const child = spawn(process.execPath, ['--input-type=module', '-e', script, at('target')], { stdio: 'pipe' })
    await once(child.stdout, 'data')
    await new Promise((resolve) => setTimeout(resolve, kill * 7))
    child.kill('SIGKILL')
    await once(child, 'exit')
    const bytes = readFileSync(at('target'))
    assert.equal(bytes.length, 200_000)
    assert.ok(bytes.every((byte) => byte === bytes[0]))
  }
})
