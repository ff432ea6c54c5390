import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { chown, cp, mkdir, mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { findBinaries } from './binaries.ts'
import { findRunner } from './runner.ts'

const isRoot = process.getuid?.() === 0

test('a checkout below a folder that is closed to others, such as /root, serves root as well', {
  skip: !isRoot && 'only root has this trouble',
}, async () => {
  const closed = await mkdtemp(join(tmpdir(), 'cella-closed-'))
  try {
    assert.equal((await stat(closed)).mode & 0o077, 0)
    const { folder, major } = await findBinaries()
    await cp(folder, join(closed, 'native'), { recursive: true, verbatimSymlinks: true })
    const at = (name: string): string => join(closed, 'native/bin', name)
    const binaries = { folder: join(closed, 'native'), postgres: at('postgres'), initdb: at('initdb'), major }
    const data = join(closed, 'data')
    await mkdir(data, { mode: 0o700 })
    const runner = await findRunner(binaries, closed)
    assert.notEqual(runner.name, 'self')
    if (runner.owner !== undefined) await chown(data, runner.owner.uid, runner.owner.gid)
    // The whole of it, not the probe by which the runner was chosen.
    const [file = '', ...args] = [...runner.wrap, binaries.initdb, `--pgdata=${data}`, '--no-sync', '--auth=trust']
    await promisify(execFile)(file, args, runner.ids)
    assert.equal((await stat(join(data, 'PG_VERSION'))).isFile(), true)
  } finally {
    await rm(closed, { recursive: true })
  }
})
