import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { promisify } from 'node:util'

const folder = mkdtempSync(join(tmpdir(), 'cella-memory-'))
after(() => rmSync(folder, { recursive: true }))

/** What a process that does nothing but this may have, whatever the length of the file. */
const residentMiBMax = 320

const program = `
const { inspectFile, toCanonical } = await import(${JSON.stringify(new URL('./index.ts', import.meta.url).href)})
const inspection = await inspectFile(process.argv[1])
let bytes = 0
for await (const piece of toCanonical(inspection).bytes) bytes += piece.length
const residentMiB = process.resourceUsage().maxRSS / 1024
process.stdout.write(JSON.stringify({ rows: inspection.report.rows, bytes, residentMiB }))
`

async function writeTable(path: string, mebibytes: number): Promise<number> {
  await using file = await open(path, 'w')
  await file.write('id,name,wage,hired,remark\n')
  let rows = 0
  for (let written = 0; written < mebibytes * 2 ** 20; ) {
    let text = ''
    while (text.length < 2 ** 20) {
      rows++
      text += `${rows},Person ${rows * 7919},${(rows % 9973) / 4},${1950 + (rows % 60)}-03-17,"all is well, it says"\n`
    }
    await file.write(text)
    written += text.length
  }
  return rows
}

test('inspecting and converting takes no more memory for a longer file', async (context) => {
  // The rows of 64 MiB would take several times the bound, were they kept; the short file only tries the way there.
  const mebibytes = process.env.CELLA_LONG === '1' ? 64 : 8
  const path = join(folder, 'long.csv')
  const rows = await writeTable(path, mebibytes)
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', program, path])
  const found = JSON.parse(stdout)
  assert.equal(found.rows, rows)
  assert.ok(found.bytes > (mebibytes - 2) * 2 ** 20)
  context.diagnostic(`${mebibytes} MiB read with ${Math.round(found.residentMiB)} MiB resident`)
  assert.ok(found.residentMiB < residentMiBMax, `${found.residentMiB} MiB resident`)
})
