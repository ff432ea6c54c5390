import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type EnclaveHost, startEnclaveHost } from '@cella/testing/enclave-host'
import { MemoryLog } from '@cella/testing/memory-log'
import { asking, place, scenarioFor, startVault, temporaryFolder } from '@cella/testing/vaults'
import { World } from '@cella/testing/world'
import { type DecideAnswer, decide } from '../test/requests.ts'

const allowed = ({ decisions }: DecideAnswer) =>
  decisions.map(({ document }) => {
    const { payload } = JSON.parse(document) as { payload: string }
    return (JSON.parse(Buffer.from(payload, 'base64url').toString()) as { allowed: boolean }).allowed
  })

test('a restarted vault keeps its keys and its counts', async (context) => {
  const here = await place(context)
  const before = await startVault(here)
  const scenario = await scenarioFor(here, before, { manifest: { runs: 2 }, approval: { runs: 5 } })
  assert.deepEqual(allowed(await decide(before, await asking(before, scenario, { run: 1 }))), [true, true])
  const after = await startVault(here)
  assert.equal(after.id, before.id)
  assert.deepEqual(allowed(await decide(after, await asking(after, scenario, { run: 1, attempt: 2 }))), [true, true])
  assert.deepEqual(allowed(await decide(after, await asking(after, scenario, { run: 2 }))), [true, true])
  assert.deepEqual(allowed(await decide(after, await asking(after, scenario, { run: 3 }))), [false, true])
})

test('a log that was set back is refused at start, and by a vault that runs', async (context) => {
  const here = await place(context)
  const vault = await startVault(here)
  const scenario = await scenarioFor(here, vault)
  const old = await here.log.fork(here.log.size)
  await startVault(here)
  assert.ok(here.log.size > old.size)
  await decide(vault, await asking(vault, scenario))
  here.host.log = await here.log.fork(old.size - 1)
  // Every entry that a vault makes has to stand behind all that it has read.
  await assert.rejects(decide(vault, await asking(vault, scenario, { run: 2 })), { code: 'ERR_LOG_ROLLED_BACK' })
  await assert.rejects(startVault(here), { code: 'ERR_LOG_ROLLED_BACK' })
})

test('a log of other leaves under the same keys is refused', async (context) => {
  const here = await place(context)
  const vault = await startVault(here)
  const scenario = await scenarioFor(here, vault)
  await startVault(here)
  const forked = await here.log.fork(here.log.size - 3)
  for (let at = 0; at < 40; at++) await scenario.world.append('state', scenario.data.digest)
  const other = new World(forked)
  for (let at = 0; at < 60; at++) await other.append('state', scenario.data.digest)
  here.host.log = forked
  await assert.rejects(startVault(here), { code: 'ERR_LOG_FORKED' })
})

test('a running vault refuses a fork as well', async (context) => {
  const here = await place(context)
  const vault = await startVault(here)
  const scenario = await scenarioFor(here, vault)
  await decide(vault, await asking(vault, scenario))
  const forked = await here.log.fork(here.log.size - 2)
  for (let at = 0; at < 5; at++) await new World(forked).append('state', scenario.data.digest)
  here.host.log = forked
  await assert.rejects(decide(vault, await asking(vault, scenario, { run: 2 })), { code: 'ERR_LOG_FORKED' })
})

const lies: { name: string; bend: (host: EnclaveHost) => void; code: string }[] = [
  {
    name: 'an index where another leaf is',
    bend: (host) => {
      const { log } = host
      host.log = { ...bound(log), append: async (leaves) => (await log.append(leaves)).map(() => 0) }
    },
    code: 'ERR_HOST_MALFORMED',
  },
  {
    name: 'an index beyond the log',
    bend: (host) => {
      const { log } = host
      host.log = { ...bound(log), append: async (leaves) => (await log.append(leaves)).map((at) => at + 1000) }
    },
    code: 'ERR_HOST_MALFORMED',
  },
  {
    name: 'an index for every leaf but one',
    bend: (host) => {
      const { log } = host
      host.log = { ...bound(log), append: async (leaves) => (await log.append(leaves)).slice(1) }
    },
    code: 'ERR_HOST_MALFORMED',
  },
  {
    name: 'a leaf that was never appended',
    bend: (host) => {
      host.log = { ...bound(host.log), append: async (leaves) => leaves.map((_, at) => at) }
    },
    code: 'ERR_HOST_MALFORMED',
  },
  {
    name: 'no tiles',
    bend: (host) => {
      host.log = { ...bound(host.log), tile: () => Promise.reject(new Error('no')) }
    },
    code: 'ERR_HOST_REFUSED',
  },
  {
    name: 'a checkpoint that is none',
    bend: (host) => {
      host.log = { ...bound(host.log), checkpoint: async () => new TextEncoder().encode('trust me\n') }
    },
    code: 'ERR_LOG_MALFORMED',
  },
]

function bound(log: EnclaveHost['log']): EnclaveHost['log'] {
  return {
    append: (leaves) => log.append(leaves),
    checkpoint: () => log.checkpoint(),
    tile: (path) => log.tile(path),
  }
}

for (const { name, bend, code } of lies) {
  test(`a vault does not start on ${name}`, async (context) => {
    const here = await place(context)
    await appendOthers(here)
    bend(here.host)
    await assert.rejects(startVault(here), (error: { code: string }) => {
      assert.match(error.code, new RegExp(`^(${code}|ERR_LOG_UNAVAILABLE)$`))
      return true
    })
  })
}

/** A few leaves of others, so that index 0 is not the vault's own. */
async function appendOthers(here: Awaited<ReturnType<typeof place>>): Promise<void> {
  for (let at = 0; at < 3; at++) await new World(here.log).append('state', 'a'.repeat(64) as never)
}

test('a checkpoint without the witnesses is none', async (context) => {
  const here = await place(context)
  here.log.clocks.clear()
  await assert.rejects(startVault(here), { code: 'ERR_LOG_QUORUM' })
})

test('a vault whose host is gone can’t start and says so', async () => {
  const log = new MemoryLog({ now: 1_760_000_000 })
  const host = await startEnclaveHost(log)
  await host.close()
  await assert.rejects(startVault({ log, host, folder: temporaryFolder() }), { code: 'ERR_HOST_UNAVAILABLE' })
})
