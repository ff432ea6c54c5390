import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { writeNewFile } from './files.ts'

const folder = mkdtempSync(join(tmpdir(), 'cella-files-'))
after(() => rmSync(folder, { recursive: true, force: true }))
const hint = 'choose another name'

test('a file appears whole, and one that is there stays as it was unless it may be replaced', async () => {
  const path = join(folder, 'receipt.json')
  await writeNewFile(path, 'first', { hint })
  await assert.rejects(writeNewFile(path, 'second', { hint }), {
    code: 'ERR_FILE',
    message: `${path} is there already`,
    hint,
  })
  assert.equal(readFileSync(path, 'utf8'), 'first')
  await writeNewFile(path, 'third', { hint, overwrite: true })
  assert.equal(readFileSync(path, 'utf8'), 'third')
})

test('a file that can’t be written says why, and leaves nothing', async () => {
  writeFileSync(join(folder, 'no-folder'), '')
  const before = readdirSync(folder)
  for (const [path, reason] of [
    [join(folder, 'absent', 'x'), 'ENOENT'],
    [join(folder, 'no-folder', 'x'), 'ENOTDIR'],
  ] as const) {
    await assert.rejects(writeNewFile(path, 'text', { hint }), {
      code: 'ERR_FILE',
      message: `${path} can't be written (${reason})`,
      hint: 'check the path and that you may write it',
    })
  }
  assert.deepEqual(readdirSync(folder), before)
})
