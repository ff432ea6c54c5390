import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { concatBytes, decodeBase64url, decodeHex, encodeBase64url, encodeHex, encodeUtf8, Secret } from '@cella/bytes'
import { randomBytes, sha256 } from '@cella/primitives'
import { sharedPath, sharedTest } from '@cella/testing'
import fc from 'fast-check'
import { combine, split } from 'shamir-secret-sharing'
import { createBackup, restoreBackup } from './backup.ts'
import type { KeyEntry } from './entries.ts'
import { createKeystore, type Keystore } from './keystore.ts'

const root = mkdtempSync(join(tmpdir(), 'cella-backup-'))
after(() => rmSync(root, { recursive: true }))
const entries: KeyEntry[] = [
  { kind: 'hpke', name: 'ada', secret: randomBytes(32) },
  { kind: 'signing', name: 'ada', secret: randomBytes(32) },
]
let keystore: Keystore
let shares: string[]
let other: string[]
before(async () => {
  keystore = await createKeystore(join(root, 'k', 'keys'), new Secret(encodeUtf8('long enough')), {
    kdf: { memoryKib: 8, passes: 1, parallelism: 1 },
    testOnlyAllowWeakKdf: true,
    entries,
  })
  shares = await createBackup(keystore, { shares: 5, threshold: 3 })
  other = await createBackup(keystore, { shares: 5, threshold: 3 })
})

/** A share with its bytes changed and its checksum right again: what a forger hands in. */
function forge(share: string, change: (body: Uint8Array) => void): string {
  const bytes = decodeBase64url(share.replaceAll('\n', '').slice('cella-share/1.'.length), 'share')
  const body = bytes.slice(0, -8)
  change(body)
  return `cella-share/1.${encodeBase64url(concatBytes(body, sha256(body).subarray(0, 8)))}`
}

test('any three of five shares, in any order, and more, give back every key', async () => {
  for (const chosen of [
    [0, 1, 2],
    [4, 2, 0],
    [3, 4, 1, 0],
    [0, 1, 2, 3, 4],
    [0, 0, 1, 2, 2],
  ]) {
    assert.deepEqual(await restoreBackup(chosen.map((index) => shares[index]!)), entries)
  }
})

test('shares survive other line ends and white space', async () => {
  const mangled = [shares[0]!.replaceAll('\n', '\r\n  '), `\n${shares[1]!.replaceAll('\n', '')}\n`, shares[2]!]
  assert.deepEqual(await restoreBackup(mangled), entries)
})

test('refuses fewer shares than the threshold, the same one counted once', async () => {
  for (const chosen of [[], [0], [0, 1], [0, 0, 0], [0, 1, 1, 0]]) {
    await assert.rejects(restoreBackup(chosen.map((index) => shares[index]!)), { code: 'ERR_BACKUP_TOO_FEW_SHARES' })
  }
})

test('detects shares of another backup of the same keys', async () => {
  await assert.rejects(restoreBackup([shares[0]!, shares[1]!, other[2]!]), { code: 'ERR_BACKUP_MIXED_SHARES' })
})

test('detects a false share although its labels and checksum fit', async () => {
  for (const at of [51, 60, 82]) {
    const false1 = forge(shares[2]!, (body) => {
      body[at]! ^= 1
    })
    await assert.rejects(restoreBackup([shares[0]!, shares[1]!, false1]), { code: 'ERR_BACKUP_WRONG_SHARE' })
    await assert.rejects(restoreBackup([...shares, false1]), { code: 'ERR_BACKUP_WRONG_SHARE' })
  }
  const moved = forge(shares[2]!, (body) => {
    body[83] = body[83] === 255 ? 1 : body[83]! + 1
  })
  await assert.rejects(restoreBackup([shares[0]!, shares[1]!, moved]), { code: 'ERR_BACKUP_WRONG_SHARE' })
})

test('a changed threshold or ciphertext in all shares is detected by the check value or the tag', async () => {
  const lowered = shares.map((share) =>
    forge(share, (body) => {
      body[2] = 2
    }),
  )
  for (const chosen of [lowered.slice(0, 2), lowered]) {
    await assert.rejects(restoreBackup(chosen), { code: 'ERR_BACKUP_WRONG_SHARE' })
  }
  const altered = shares.map((share) =>
    forge(share, (body) => {
      body[body.length - 1]! ^= 1
    }),
  )
  await assert.rejects(restoreBackup(altered), { code: 'ERR_BACKUP_WRONG_SHARE' })
})

test('every changed character and every truncation of a share is refused', async () => {
  const share = shares[0]!.replaceAll('\n', '')
  for (let at = 0; at < share.length; at++) {
    const changed = share.slice(0, at) + (share[at] === 'A' ? 'B' : 'A') + share.slice(at + 1)
    await assert.rejects(restoreBackup([changed, shares[1]!, shares[2]!]), { code: 'ERR_BACKUP_SHARE_MALFORMED' })
    await assert.rejects(restoreBackup([share.slice(0, at)]), { code: 'ERR_BACKUP_SHARE_MALFORMED' })
  }
})

test('random text only ever throws errors of this package', async () => {
  await fc.assert(
    fc.asyncProperty(fc.string(), fc.boolean(), async (text, prefixed) => {
      await assert.rejects(restoreBackup([prefixed ? `cella-share/1.${text}` : text]), { name: 'KeystoreError' })
    }),
  )
})

test('numbers of shares out of range are refused', async () => {
  for (const [count, threshold] of [
    [1, 1],
    [2, 1],
    [2, 3],
    [256, 2],
    [3.5, 2],
  ] as const) {
    await assert.rejects(createBackup(keystore, { shares: count, threshold }), RangeError)
  }
})

test('a share alone holds no key in the clear', () => {
  for (const share of shares) {
    const bytes = Buffer.from(decodeBase64url(share.replaceAll('\n', '').slice('cella-share/1.'.length), 'share'))
    for (const { secret } of entries) assert.equal(bytes.indexOf(secret), -1)
  }
})

test('the sharing library gives back what it split, and agrees with a vector made by hand', async () => {
  // f(x) = 0x22 + 0x01·x over GF(2^8): f(1) = 0x23, f(2) = 0x20.
  assert.equal(encodeHex(await combine([Uint8Array.of(0x23, 1), Uint8Array.of(0x20, 2)])), '22')
  const secret = randomBytes(32)
  const parts = await split(secret, 6, 4)
  assert.equal(new Set(parts.map((part) => part.at(-1))).size, 6)
  assert.deepEqual(await combine(parts.slice(2)), new Uint8Array(secret))
  assert.notDeepEqual(await combine(parts.slice(3)), new Uint8Array(secret))
})

sharedTest('the sharing library combines the kept vectors', 'vectors/shamir/combine_gf256.json', async () => {
  const { tests }: { tests: { id: number; secret: string; shares: string[] }[] } = JSON.parse(
    readFileSync(sharedPath('vectors/shamir/combine_gf256.json'), 'utf8'),
  )
  assert.ok(tests.length >= 12)
  for (const { id, secret, shares: parts } of tests) {
    const combined = await combine(parts.map((part) => new Uint8Array(decodeHex(part, 'share'))))
    assert.equal(encodeHex(combined), secret, `vector ${id}`)
  }
})
