import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { encodeUtf8, Secret } from '@cella/bytes'
import { restoreBackup } from './backup.ts'
import { openKeystore } from './keystore.ts'

const root = mkdtempSync(join(tmpdir(), 'cella-keystore-'))
after(() => rmSync(root, { recursive: true }))

function blocks(name: string): string[] {
  const text = readFileSync(new URL('../../../docs/formats/keystore.md', import.meta.url), 'utf8')
  return [...text.matchAll(new RegExp(`\`\`\`${name}\n([^\`]*)\`\`\``, 'g'))].map((match) => match[1]!)
}

const secret = Uint8Array.from({ length: 32 }, (_, index) => index)

test('the keystore in docs/formats/keystore.md opens', async () => {
  const path = join(root, 'keys')
  const [hex = ''] = blocks('keystore')
  writeFileSync(path, Buffer.from(hex.replaceAll('\n', ''), 'hex'), { mode: 0o600 })
  const keystore = await openKeystore(path, new Secret(encodeUtf8('correct horse battery')))
  assert.deepEqual(keystore.entries(), [{ kind: 'signing', name: 'ada', secret }])
})

test('the shares in docs/formats/keystore.md restore it', async () => {
  const shares = blocks('share')
  assert.equal(shares.length, 2)
  assert.deepEqual(await restoreBackup(shares), [{ kind: 'signing', name: 'ada', secret }])
})
