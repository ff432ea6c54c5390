import assert from 'node:assert/strict'
import { test } from 'node:test'
import { concatBytes, encodeHex } from '@cella/bytes'
import { randomBytes } from '@cella/primitives'
import fc from 'fast-check'
import { asDek, generateDek } from './dek.ts'
import { SealError, type SealErrorCode } from './error.ts'
import { headerLength, layoutOfPlaintext } from './header.ts'
import { ChunkSealer, type Sealed } from './sealer.ts'
import { openBytes, openRange, openStream, sealBytes, sealedSize, sealStream } from './stream.ts'

const chunkSizeLog2 = 16
const chunkSize = 2 ** chunkSizeLog2
const sealedChunkSize = chunkSize + 16

async function* pieces(bytes: Uint8Array, pieceSize: number = bytes.length): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += pieceSize) yield bytes.subarray(at, at + pieceSize)
}

async function collect(source: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const parts: Uint8Array[] = []
  for await (const part of source) parts.push(part)
  return concatBytes(...parts)
}

/** What is handed on before the error, and the error. */
async function attempt(source: AsyncIterable<Uint8Array>): Promise<{ handedOn: Uint8Array; error: unknown }> {
  const parts: Uint8Array[] = []
  try {
    for await (const part of source) parts.push(part)
  } catch (error) {
    return { handedOn: concatBytes(...parts), error }
  }
  return { handedOn: concatBytes(...parts), error: undefined }
}

function code(error: unknown): SealErrorCode | undefined {
  return error instanceof SealError ? error.code : undefined
}

const dek = generateDek()
/** Three chunks: two full ones and one of 1000 bytes. */
const plaintext = randomBytes(2 * chunkSize + 1000)
const whole = sealBytes({ dek, chunkSizeLog2, plaintext })

for (const size of [0, 1, 1000, chunkSize - 1, chunkSize, chunkSize + 1, 2 * chunkSize, 3 * chunkSize + 7]) {
  test(`opens what it sealed: ${size} bytes, streamed in odd pieces, whole, and by ranges`, async () => {
    const bytes = randomBytes(size)
    const stream = sealStream({ dek, chunkSizeLog2, source: pieces(bytes, 7919) })
    const sealed = await collect(stream)
    const result = await stream.result
    assert.equal(result.size, sealed.length)
    assert.equal(result.plaintextSize, size)
    assert.equal(sealedSize(size, chunkSizeLog2), sealed.length)
    for (const outboard of [undefined, result.outboard]) {
      const options = { dek, expected: result, ...(outboard && { outboard }) }
      assert.deepEqual(await collect(openStream({ ...options, source: pieces(sealed, 30_011) })), bytes)
      assert.deepEqual(openBytes({ ...options, sealed }), bytes)
    }
  })
}

test('whole, chunked and byte-by-byte input agree', async () => {
  const salt = randomBytes(32)
  const bytes = randomBytes(chunkSize + 3)
  const options = { dek, chunkSizeLog2, dangerouslyDeterministicSalt: salt }
  const expected = sealBytes({ ...options, plaintext: bytes })
  for (const pieceSize of [1, 1000, chunkSize, chunkSize + 3]) {
    const stream = sealStream({ ...options, source: pieces(bytes, pieceSize) })
    assert.deepEqual(await collect(stream), expected.sealed)
    assert.deepEqual((await stream.result).rootDigest, expected.rootDigest)
  }
})

test('sealing twice gives different bytes, unless the salt is fixed', () => {
  const seal = (salt?: Uint8Array): Sealed =>
    sealBytes({ dek, chunkSizeLog2, plaintext, ...(salt && { dangerouslyDeterministicSalt: salt }) })
  assert.notEqual(seal().rootDigest, seal().rootDigest)
  assert.notEqual(seal().keyCommitment, seal().keyCommitment)
  assert.deepEqual(seal(new Uint8Array(32)), seal(new Uint8Array(32)))
})

test('empty pieces of a source mean nothing', async () => {
  const nothing = new Uint8Array(0)
  const stream = sealStream({
    dek,
    chunkSizeLog2,
    source: (async function* () {
      yield nothing
      yield* pieces(plaintext, 50_000)
      yield nothing
    })(),
  })
  const sealed = await collect(stream)
  assert.deepEqual(openBytes({ dek, expected: await stream.result, sealed }), plaintext)
})

const chunkAt = (index: number): number => headerLength + index * sealedChunkSize
const chunk = (index: number): Uint8Array => whole.sealed.subarray(chunkAt(index), chunkAt(index + 1))
const header = whole.sealed.subarray(0, headerLength)
const flipped = (at: number): Uint8Array => {
  const copy = whole.sealed.slice()
  copy[at]! ^= 1
  return copy
}

interface Attack {
  name: string
  sealed: Uint8Array
  /** Codes without and with an outboard. */
  codes: readonly [SealErrorCode, SealErrorCode]
  /** Whole chunks handed on before the error; all of them genuine. */
  chunks: number
}

const attacks: Attack[] = [
  {
    name: 'nothing at all',
    sealed: new Uint8Array(0),
    codes: ['ERR_SEAL_TRUNCATED', 'ERR_SEAL_TRUNCATED'],
    chunks: 0,
  },
  {
    name: 'truncation inside the header',
    sealed: header.subarray(0, 79),
    codes: ['ERR_SEAL_TRUNCATED', 'ERR_SEAL_TRUNCATED'],
    chunks: 0,
  },
  {
    name: 'truncation inside a chunk',
    sealed: whole.sealed.subarray(0, chunkAt(1) + 100),
    codes: ['ERR_SEAL_TRUNCATED', 'ERR_SEAL_TRUNCATED'],
    chunks: 1,
  },
  {
    name: 'truncation at the end of a chunk',
    sealed: whole.sealed.subarray(0, chunkAt(2)),
    codes: ['ERR_SEAL_TRUNCATED', 'ERR_SEAL_TRUNCATED'],
    chunks: 2,
  },
  {
    name: 'the last byte missing',
    sealed: whole.sealed.subarray(0, -1),
    codes: ['ERR_SEAL_TRUNCATED', 'ERR_SEAL_TRUNCATED'],
    chunks: 2,
  },
  {
    name: 'a byte appended',
    sealed: concatBytes(whole.sealed, Uint8Array.of(0)),
    codes: ['ERR_SEAL_TRAILING_BYTES', 'ERR_SEAL_TRAILING_BYTES'],
    chunks: 2,
  },
  {
    name: 'a chunk appended',
    sealed: concatBytes(whole.sealed, chunk(2)),
    codes: ['ERR_SEAL_TRAILING_BYTES', 'ERR_SEAL_TRAILING_BYTES'],
    chunks: 2,
  },
  {
    name: 'two chunks in the other order',
    sealed: concatBytes(header, chunk(1), chunk(0), chunk(2)),
    codes: ['ERR_SEAL_CHUNK_NOT_OPENED', 'ERR_SEAL_DIGEST_MISMATCH'],
    chunks: 0,
  },
  {
    name: 'a chunk repeated in the place of the next',
    sealed: concatBytes(header, chunk(0), chunk(0), chunk(2)),
    codes: ['ERR_SEAL_CHUNK_NOT_OPENED', 'ERR_SEAL_DIGEST_MISMATCH'],
    chunks: 1,
  },
  {
    name: 'a bit flipped in the first chunk',
    sealed: flipped(chunkAt(0)),
    codes: ['ERR_SEAL_CHUNK_NOT_OPENED', 'ERR_SEAL_DIGEST_MISMATCH'],
    chunks: 0,
  },
  {
    name: 'a bit flipped in a tag',
    sealed: flipped(chunkAt(2) - 1),
    codes: ['ERR_SEAL_CHUNK_NOT_OPENED', 'ERR_SEAL_DIGEST_MISMATCH'],
    chunks: 1,
  },
  {
    name: 'a bit flipped in the last chunk',
    sealed: flipped(whole.size - 1),
    codes: ['ERR_SEAL_CHUNK_NOT_OPENED', 'ERR_SEAL_DIGEST_MISMATCH'],
    chunks: 2,
  },
  {
    name: 'another file under the same DEK',
    sealed: sealBytes({ dek, chunkSizeLog2, plaintext }).sealed,
    codes: ['ERR_SEAL_COMMITMENT_MISMATCH', 'ERR_SEAL_COMMITMENT_MISMATCH'],
    chunks: 0,
  },
]

for (const { name, sealed, codes, chunks } of attacks) {
  test(`refuses ${name}, before a byte of that chunk is handed on`, async () => {
    for (const [mode, outboard] of [undefined, whole.outboard].entries()) {
      const options = { dek, expected: whole, ...(outboard && { outboard }) }
      const { handedOn, error } = await attempt(openStream({ ...options, source: pieces(sealed, 12_345) }))
      assert.equal(code(error), codes[mode])
      assert.deepEqual(handedOn, plaintext.slice(0, chunks * chunkSize))
      assert.throws(() => openBytes({ ...options, sealed }), SealError)
    }
  })
}

test('every changed byte of the header is refused', async () => {
  for (let at = 0; at < headerLength; at++) {
    for (const outboard of [undefined, whole.outboard]) {
      const options = { dek, expected: whole, ...(outboard && { outboard }) }
      const { handedOn, error } = await attempt(openStream({ ...options, source: pieces(flipped(at)) }))
      assert.ok(error instanceof SealError, `byte ${at}`)
      assert.equal(handedOn.length, 0)
    }
  }
})

test('every truncation of a small file is refused, with nothing handed on', async () => {
  const small = sealBytes({ dek, chunkSizeLog2, plaintext: randomBytes(20) })
  for (let length = 0; length < small.size; length++) {
    const source = pieces(small.sealed.subarray(0, length))
    const { handedOn, error } = await attempt(openStream({ dek, expected: small, source }))
    assert.equal(code(error), 'ERR_SEAL_TRUNCATED')
    assert.equal(handedOn.length, 0)
  }
})

test('every changed byte of a small file is refused, with nothing handed on', async () => {
  const small = sealBytes({ dek, chunkSizeLog2, plaintext: randomBytes(20) })
  for (let at = 0; at < small.size; at++) {
    const altered = small.sealed.slice()
    altered[at]! ^= 0x80
    const { handedOn, error } = await attempt(openStream({ dek, expected: small, source: pieces(altered) }))
    assert.ok(error instanceof SealError, `byte ${at}`)
    assert.equal(handedOn.length, 0)
  }
})

test('random bytes only ever throw errors of this package', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), fc.boolean(), async (bytes, withHeader) => {
      const sealed = withHeader ? concatBytes(header, bytes) : bytes
      const { handedOn, error } = await attempt(openStream({ dek, expected: whole, source: pieces(sealed) }))
      assert.ok(error instanceof SealError)
      assert.equal(handedOn.length, 0)
    }),
  )
})

test('refuses a wrong key before anything is opened', async () => {
  for (const outboard of [undefined, whole.outboard]) {
    const options = { dek: generateDek(), expected: whole, ...(outboard && { outboard }) }
    const { handedOn, error } = await attempt(openStream({ ...options, source: pieces(whole.sealed) }))
    assert.equal(code(error), 'ERR_SEAL_WRONG_KEY')
    assert.equal(handedOn.length, 0)
  }
})

const otherDigest = 'ab'.repeat(32) as Sealed['rootDigest']
const expectations: { name: string; expected: Partial<Sealed>; codes: [SealErrorCode, SealErrorCode] }[] = [
  {
    name: 'another root digest',
    expected: { rootDigest: otherDigest },
    codes: ['ERR_SEAL_DIGEST_MISMATCH', 'ERR_SEAL_DIGEST_MISMATCH'],
  },
  {
    name: 'another key commitment',
    expected: { keyCommitment: otherDigest },
    codes: ['ERR_SEAL_COMMITMENT_MISMATCH', 'ERR_SEAL_COMMITMENT_MISMATCH'],
  },
  {
    name: 'a smaller size',
    expected: { size: whole.size - 1 },
    codes: ['ERR_SEAL_TRAILING_BYTES', 'ERR_SEAL_TRAILING_BYTES'],
  },
  {
    name: 'a larger size',
    expected: { size: whole.size + 1 },
    codes: ['ERR_SEAL_TRUNCATED', 'ERR_SEAL_TRUNCATED'],
  },
  {
    name: 'a size that no file has',
    expected: { size: headerLength + sealedChunkSize + 16 },
    codes: ['ERR_SEAL_SIZE_MISMATCH', 'ERR_SEAL_SIZE_MISMATCH'],
  },
]
for (const { name, expected, codes } of expectations) {
  test(`refuses a file when the document says ${name}, with its last chunk kept back`, async () => {
    for (const [mode, outboard] of [undefined, whole.outboard].entries()) {
      const options = { dek, expected: { ...whole, ...expected }, ...(outboard && { outboard }) }
      const { handedOn, error } = await attempt(openStream({ ...options, source: pieces(whole.sealed) }))
      assert.equal(code(error), codes[mode])
      assert.ok(handedOn.length <= 2 * chunkSize)
      if (outboard && expected.rootDigest) assert.equal(handedOn.length, 0)
    }
  })
}

test('an expectation left out is an error, not a permission', () => {
  for (const field of ['rootDigest', 'size', 'keyCommitment'] as const) {
    const expected = { ...whole, [field]: undefined } as unknown as Sealed
    assert.throws(() => openBytes({ dek, expected, sealed: whole.sealed }), { name: /FormatError|SealError/ }, field)
  }
})

test('refuses a sealer that knows the DEK but not the root digest: chunks of its own under the same header', async () => {
  // The holder of the DEK reseals other content with the same salt: AEAD, commitment and size all fit.
  const forged = sealBytes({
    dek,
    chunkSizeLog2,
    plaintext: randomBytes(plaintext.length),
    dangerouslyDeterministicSalt: header.slice(16, 48),
  })
  const bare = await attempt(openStream({ dek, expected: whole, source: pieces(forged.sealed) }))
  assert.equal(code(bare.error), 'ERR_SEAL_DIGEST_MISMATCH')
  const checked = await attempt(
    openStream({ dek, expected: whole, outboard: whole.outboard, source: pieces(forged.sealed) }),
  )
  assert.equal(code(checked.error), 'ERR_SEAL_DIGEST_MISMATCH')
  assert.equal(checked.handedOn.length, 0)
})

test('refuses an outboard that is not the one under the root digest, before the first chunk', async () => {
  for (let at = 0; at < whole.outboard.length; at += 17) {
    const outboard = whole.outboard.slice()
    outboard[at]! ^= 1
    const source = pieces(whole.sealed)
    const { handedOn, error } = await attempt(openStream({ dek, expected: whole, outboard, source }))
    assert.equal(code(error), 'ERR_SEAL_DIGEST_MISMATCH')
    assert.equal(handedOn.length, 0)
  }
  for (const outboard of [
    whole.outboard.subarray(32),
    new Uint8Array(0),
    concatBytes(whole.outboard, new Uint8Array(32)),
  ]) {
    const { error } = await attempt(openStream({ dek, expected: whole, outboard, source: pieces(whole.sealed) }))
    assert.equal(code(error), 'ERR_SEAL_DIGEST_MISMATCH')
  }
})

test('opens any range, fetching only the chunks that hold it', async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(plaintext.length), fc.nat(plaintext.length), async (a, b) => {
      const offset = Math.min(a, b)
      const length = Math.max(a, b) - offset
      const reads: number[] = []
      const part = openRange({
        ...{ dek, expected: whole, outboard: whole.outboard, header, offset, length },
        readRange: async (at, size) => {
          reads.push((at - headerLength) / sealedChunkSize)
          return whole.sealed.subarray(at, at + size)
        },
      })
      assert.equal(encodeHex(await collect(part)), encodeHex(plaintext.subarray(offset, offset + length)))
      const first = Math.floor(offset / chunkSize)
      const last = Math.floor((offset + length - 1) / chunkSize)
      assert.deepEqual(reads, length === 0 ? [] : Array.from({ length: last - first + 1 }, (_, step) => first + step))
    }),
    { numRuns: 30 },
  )
})

test('refuses a range from altered, moved or cut chunks, and one beyond the end', async () => {
  const range = (readRange: (at: number, size: number) => Promise<Uint8Array>, offset = 5, length = 10) =>
    attempt(openRange({ dek, expected: whole, outboard: whole.outboard, header, offset, length, readRange }))
  const altered = await range(async (at, size) => flipped(at + 50_000).slice(at, at + size))
  assert.equal(code(altered.error), 'ERR_SEAL_DIGEST_MISMATCH')
  const moved = await range(async (_at, size) => whole.sealed.slice(chunkAt(1), chunkAt(1) + size))
  assert.equal(code(moved.error), 'ERR_SEAL_DIGEST_MISMATCH')
  const cut = await range(async (at, size) => whole.sealed.slice(at, at + size - 1))
  assert.equal(code(cut.error), 'ERR_SEAL_TRUNCATED')
  const beyond = await range(async () => assert.fail('read'), plaintext.length - 5, 10)
  assert.ok(beyond.error instanceof RangeError)
  const negative = await range(async () => assert.fail('read'), -1, 1)
  assert.ok(negative.error instanceof RangeError)
})

test('a consumer that stops lets the source go, and the result says so', async () => {
  let closed = 0
  const endless = async function* (): AsyncGenerator<Uint8Array> {
    try {
      for (;;) yield new Uint8Array(10_000)
    } finally {
      closed++
    }
  }
  const stream = sealStream({ dek, chunkSizeLog2, source: endless() })
  let taken = 0
  for await (const _ of stream) if (++taken === 3) break
  await assert.rejects(stream.result, { code: 'ERR_SEAL_ABANDONED' })
  for await (const _ of openStream({ dek, expected: whole, source: pieces(whole.sealed, 1000) })) break
  assert.equal(closed, 1)
})

test('a source that fails fails the stream and the result alike', async () => {
  const failure = new Error('disk gone')
  const stream = sealStream({
    dek,
    chunkSizeLog2,
    source: (async function* () {
      yield new Uint8Array(100_000)
      throw failure
    })(),
  })
  await assert.rejects(collect(stream), failure)
  await assert.rejects(stream.result, failure)
})

test('a sealer refuses chunks out of shape and goes on after its last one never', () => {
  const out = new Uint8Array(sealedChunkSize)
  assert.throws(() => new ChunkSealer({ dek, chunkSizeLog2 }).seal(new Uint8Array(5), false, out), RangeError)
  assert.throws(
    () => new ChunkSealer({ dek, chunkSizeLog2 }).seal(new Uint8Array(chunkSize + 1), true, out),
    RangeError,
  )
  const sealer = new ChunkSealer({ dek, chunkSizeLog2 })
  sealer.seal(new Uint8Array(chunkSize), false, out)
  assert.throws(() => sealer.seal(new Uint8Array(0), true, out), RangeError)
  assert.throws(() => sealer.finish(), RangeError)
  sealer.seal(new Uint8Array(1), true, out)
  assert.throws(() => sealer.seal(new Uint8Array(1), true, out), RangeError)
})

test('refuses chunk sizes, salts and keys out of range', () => {
  for (const log2 of [15, 25, 16.5, Number.NaN]) {
    assert.throws(() => sealBytes({ dek, chunkSizeLog2: log2, plaintext }), RangeError)
  }
  assert.throws(() => sealBytes({ dek, plaintext, dangerouslyDeterministicSalt: new Uint8Array(31) }), RangeError)
  assert.throws(() => asDek(new Uint8Array(31)), RangeError)
  assert.throws(() => layoutOfPlaintext(2 ** 52, 16), RangeError)
})
