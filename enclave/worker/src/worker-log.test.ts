import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeUtf8 } from '@cella/bytes'
import { HostClient, HostLog } from '@cella/channel'
import { LogView, parseLogPolicy, signerLeaf } from '@cella/log'
import { place } from '@cella/testing/vaults'
import { WorkerLog } from './worker-log.ts'

test('a worker counts by itself how many entries say which code holds the log’s key, whatever the host shows', async (context) => {
  const { host, log } = await place(context)
  const policy = parseLogPolicy(encodeUtf8(log.policyOf()))
  const { key } = policy.logs[0]!
  const hostLog = new HostLog(new HostClient({ origin: host.url }))
  const own = new WorkerLog({ view: new LogView({ policy, read: hostLog }), key, host: hostLog })
  await own.refresh()
  assert.equal(own.signers.count, 0)
  for (const number of [0, 1]) {
    await log.append([signerLeaf(key, number, encodeUtf8('never shown'))])
    await own.refresh()
    assert.deepEqual([own.signers.count, own.signers.statements], [number + 1, []])
  }
})
