import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeBase64url, encodeHex, encodeUtf8 } from '@cella/bytes'
import { readingSchema, verifyReading } from '@cella/events'
import { LogView, parseLogPolicy } from '@cella/log'
import { randomBytes } from '@cella/primitives'
import { asking, place, scenarioFor, startVault } from '@cella/testing/vaults'
import { decide, release } from '../test/requests.ts'

test('what a vault says it has read binds it: a withdrawal below that size ends a release that was decided before', async (context) => {
  const here = await place(context)
  const vault = await startVault(here)
  const scenario = await scenarioFor(here, vault)
  const asked = await asking(vault, scenario)
  const decided = await decide(vault, asked)
  const index = here.log.size
  await scenario.world.revoke(scenario.data.digest)
  const nonce = encodeBase64url(randomBytes(32))
  const reading = readingSchema.parse(await vault.reading(nonce))
  const { size, root } = verifyReading(reading, { vault: vault.id as never, nonce, log: here.log.origin })
  assert.ok(size > index, `${size} leaves, the withdrawal is ${index}`)
  const view = new LogView({ policy: parseLogPolicy(encodeUtf8(here.log.policyOf())), read: here.log })
  await view.advance()
  assert.equal(root, encodeHex(await view.rootAt(size)))
  await assert.rejects(release(vault, asked, decided), { code: 'ERR_RELEASE_DENIED' })
})

test('where the log can’t be read the vault gives no word', async (context) => {
  const here = await place(context)
  const vault = await startVault(here)
  await here.host.close()
  await assert.rejects(vault.reading(encodeBase64url(randomBytes(32))), { code: 'ERR_LOG_UNAVAILABLE' })
})
