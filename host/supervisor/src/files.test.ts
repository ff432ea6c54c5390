import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { LogFile, readJson, writeJson } from './files.ts'

const folder = mkdtempSync(join(tmpdir(), 'cella-supervisor-'))
after(() => rmSync(folder, { recursive: true, force: true }))

test('JSON is written whole, for its owner alone, or not at all', () => {
  const path = join(folder, 'deep', 'state.json')
  writeJson(path, { token: 'x' })
  assert.deepEqual(readJson(path), { token: 'x' })
  assert.equal(statSync(path).mode & 0o777, 0o600)
  assert.throws(() => writeJson(join(folder, 'deep'), { token: 'y' }), { code: 'EISDIR' })
  assert.deepEqual(readdirSync(folder), ['deep'])
  assert.equal(readJson(join(folder, 'absent')), undefined)
})

test('a log grows, and takes nothing more once closed', () => {
  const path = join(folder, 'some.log')
  for (const line of ['one\n', 'two\n']) {
    const log = new LogFile(path)
    log.write(line)
    log.close()
    log.write('late')
  }
  assert.equal(readFileSync(path, 'utf8'), 'one\ntwo\n')
})

test('a full disk drops log lines and ends nothing', { skip: !existsSync('/dev/full') && 'no /dev/full' }, () => {
  const log = new LogFile('/dev/full')
  log.write('dropped\n')
  log.write(Buffer.from('dropped as well\n'))
  log.close()
})
