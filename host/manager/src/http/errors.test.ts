import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { BlobError } from '@cella/blobs'
import { FormatError } from '@cella/bytes'
import { DocumentError } from '@cella/documents'
import { ManagerError } from '../error.ts'
import { answerOf, traceOf } from './errors.ts'

const secret = 'canary-in-a-message'

describe('what a client hears of an error', () => {
  test('is its own code, status and hint where the error is ours', () => {
    for (const [error, status, code] of [
      [new ManagerError('ERR_QUOTA', 'full', { hint: 'wait' }), 429, 'ERR_QUOTA'],
      [new ManagerError('ERR_DATABASE_IN_USE', 'taken'), 503, 'ERR_DATABASE_IN_USE'],
      [new BlobError('ERR_BLOB_RANGE', 'beyond'), 416, 'ERR_BLOB_RANGE'],
      [new DocumentError('ERR_DOCUMENT_SIGNER', 'whose?'), 403, 'ERR_DOCUMENT_SIGNER'],
      [new FormatError('salt', 'is none'), 400, 'ERR_FORMAT_MALFORMED'],
    ] as const) {
      const answer = answerOf(error)
      assert.deepEqual([answer.status, answer.code], [status, code])
      assert.ok(answer.message.length > 0)
    }
    assert.equal(answerOf(new ManagerError('ERR_QUOTA', 'full', { hint: 'wait' })).hint, 'wait')
    assert.equal(answerOf(new BlobError('ERR_UPLOAD_OFFSET', 'at', { offset: 7 })).offset, 7)
  })

  test('is nothing of an error that is not ours', () => {
    for (const error of [new Error(secret), new TypeError(secret), secret, undefined, { message: secret }]) {
      const answer = answerOf(error ?? new Error(secret))
      assert.deepEqual([answer.status, answer.code], [500, 'ERR_INTERNAL'])
      assert.ok(!JSON.stringify(answer).includes(secret))
    }
  })

  test('is that the database is away, where that is the cause', () => {
    for (const code of ['57P01', '08006', 'ECONNREFUSED', 'ECONNRESET']) {
      const answer = answerOf(Object.assign(new Error(secret), { code }))
      assert.deepEqual([answer.status, answer.code], [503, 'ERR_DATABASE_UNAVAILABLE'])
      assert.ok(!answer.message.includes(secret))
    }
  })
})

test('the log gets names, codes and places of an error and its causes, never a message', () => {
  const cause = Object.assign(new Error(secret), { code: '23505' })
  const { errors } = traceOf(new Error(`${secret}\n    at a line that looks like one ${secret}`, { cause }))
  assert.deepEqual(
    errors.map(({ name, code }) => [name, code]),
    [
      ['Error', undefined],
      ['Error', '23505'],
    ],
  )
  assert.ok(errors.every(({ at }) => at.length > 0))
  assert.ok(!JSON.stringify(errors).includes(secret))
})
