import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Digest, encodeHex, encodeUtf8 } from '@cella/bytes'
import { asDek } from '@cella/seal'
import fc from 'fast-check'
import { RunSeed } from './seed.ts'

const contract = 'c'.repeat(64) as Digest
const seedOf = (...keys: Uint8Array[]) => new RunSeed(keys.map(asDek), { contract, run: 1 })
const bytes32 = fc.uint8Array({ minLength: 32, maxLength: 32 })

test('one seed gives one of everything; another seed gives another', () => {
  fc.assert(
    fc.property(bytes32, bytes32, fc.uint8Array({ maxLength: 100 }), (part, other, plaintext) => {
      const all = (seed: RunSeed) =>
        [
          seed.programSeed(),
          seed.receiptTag(),
          seed.outputKey('result', plaintext).dek,
          seed.outputKey('result', plaintext).salt,
        ].map(encodeHex)
      const one = all(seedOf(part))
      assert.deepEqual(all(seedOf(part.slice())), one)
      assert.equal(new Set(one).size, one.length)
      if (encodeHex(part) === encodeHex(other)) return
      const different = all(seedOf(other))
      for (const [at, value] of one.entries()) assert.notEqual(different[at], value)
      assert.notEqual(seedOf(part).commitment(), seedOf(other).commitment())
    }),
  )
})

test('another plaintext or another name never has the same key or salt', () => {
  const seed = seedOf(new Uint8Array(32))
  fc.assert(
    fc.property(fc.uint8Array(), fc.uint8Array(), (one, two) => {
      fc.pre(encodeHex(one) !== encodeHex(two))
      const [a, b] = [seed.outputKey('result', one), seed.outputKey('result', two)]
      assert.notDeepEqual(a.dek, b.dek)
      assert.notDeepEqual(a.salt, b.salt)
    }),
  )
  const plaintext = encodeUtf8('x')
  assert.notDeepEqual(seed.outputKey('a', plaintext).dek, seed.outputKey('b', plaintext).dek)
})

test('the order of the assets counts, and no key can be left out', () => {
  const [one, two] = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)]
  const commitments = [[one], [two], [one, two], [two, one]].map((keys) => seedOf(...keys).commitment())
  assert.equal(new Set(commitments).size, 4)
})

test('every attempt at a run gets the same seed, and no other run does, nor another contract’s', () => {
  const keys = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)].map(asDek)
  const of = (about: { contract: Digest; run: number }) => new RunSeed(keys, about).commitment()
  const first = of({ contract, run: 1 })
  assert.equal(of({ contract, run: 1 }), first)
  const others = [of({ contract, run: 2 }), of({ contract: 'd'.repeat(64) as Digest, run: 1 })]
  assert.equal(new Set([first, ...others]).size, 3)
  assert.throws(() => new RunSeed([], { contract, run: 1 }), RangeError)
})

test('a destroyed seed derives nothing of what it was', () => {
  const seed = seedOf(new Uint8Array(32).fill(1))
  const before = seed.programSeed()
  seed.destroy()
  assert.notDeepEqual(seed.programSeed(), before)
})

test('a seed prints nothing', () => {
  const seed = seedOf(new Uint8Array(32).fill(1))
  assert.equal(JSON.stringify(seed), '{}')
})
