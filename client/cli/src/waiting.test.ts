import assert from 'node:assert/strict'
import { test } from 'node:test'
import { waitingLine } from './waiting.ts'

const waiting = { position: 2, of: 5, boundary: 'vm', isolation: 2, tees: null, workers: 3, busy: 1, refused: 0 }

test('says the place of a run, and who could take it', () => {
  assert.equal(
    waitingLine(waiting),
    'it is 2 of 5 that wait for this boundary; 3 workers of boundary vm and isolation 2 or better, 1 at work',
  )
})

test('says which kinds the owners accept, and that no such worker is here', () => {
  assert.equal(
    waitingLine({ ...waiting, tees: ['tdx', 'nitro'], workers: 0 }),
    'it waits for a worker of boundary vm (tdx or nitro, which the owners’ terms accept) and isolation 2 or better: none is here',
  )
})

test('says that workers are here which the manager refuses', () => {
  assert.match(
    waitingLine({ ...waiting, workers: 0, refused: 2 }),
    /: none is here; 2 workers refused by the manager: cella doctor says why$/,
  )
})
