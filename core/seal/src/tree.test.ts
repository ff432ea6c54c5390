import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { concatBytes, decodeBase64, encodeHex } from '@cella/bytes'
import { sha256 } from '@cella/primitives'
import { sharedPath, sharedTest } from '@cella/testing'
import fc from 'fast-check'
import { hashLength, inclusionProof, leafHash, rootOf, TreeHasher, verifyInclusion } from './tree.ts'

const leaves = (count: number): Uint8Array[] =>
  Array.from({ length: count }, (_, index) => leafHash(Uint8Array.of(index)))

/** RFC 6962 §2.1 as written: MTH of the left part and of the right part. */
function referenceRoot(hashes: readonly Uint8Array[]): Uint8Array {
  if (hashes.length === 0) return sha256(new Uint8Array(0))
  if (hashes.length === 1) return hashes[0]!
  let split = 1
  while (split * 2 < hashes.length) split *= 2
  return sha256(
    concatBytes(Uint8Array.of(1), referenceRoot(hashes.slice(0, split)), referenceRoot(hashes.slice(split))),
  )
}

test('the streaming root is the recursive one of RFC 6962, for every size up to 70', () => {
  const tree = new TreeHasher()
  for (let size = 0; size <= 70; size++) {
    assert.equal(encodeHex(tree.root()), encodeHex(referenceRoot(leaves(size))), `size ${size}`)
    assert.equal(tree.size, size)
    tree.append(leaves(size + 1).at(-1)!)
  }
})

test('known roots: no leaf, an empty leaf, two leaves', () => {
  assert.equal(encodeHex(rootOf(new Uint8Array(0))), 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855')
  const empty = leafHash(new Uint8Array(0))
  assert.equal(encodeHex(rootOf(empty)), '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d')
  const two = concatBytes(empty, leafHash(Uint8Array.of(0)))
  assert.equal(encodeHex(rootOf(two)), 'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125')
})

test('an inclusion proof holds for its leaf, index, size and root alone', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 60 }), fc.nat(), fc.nat(), (size, seed, bit) => {
      const hashes = leaves(size)
      const index = seed % size
      const outboard = concatBytes(...hashes)
      const proof = inclusionProof(outboard, index)
      const claim = { hash: hashes[index]!, index, size, proof, root: rootOf(outboard) }
      assert.ok(verifyInclusion(claim))
      assert.ok(!verifyInclusion({ ...claim, hash: leafHash(Uint8Array.of(255, 255)) }))
      for (let other = 0; other < size; other++)
        assert.equal(verifyInclusion({ ...claim, index: other }), other === index)
      assert.ok(!verifyInclusion({ ...claim, index: size }))
      assert.ok(!verifyInclusion({ ...claim, proof: [...proof, hashes[0]!] }))
      if (proof.length > 0) {
        assert.ok(!verifyInclusion({ ...claim, proof: proof.slice(1) }))
        const altered = proof.map((node) => node.slice())
        altered[bit % proof.length]![bit % hashLength]! ^= 1
        assert.ok(!verifyInclusion({ ...claim, proof: altered }))
      }
    }),
  )
})

test('refuses to prove a leaf that is not there', () => {
  assert.throws(() => inclusionProof(concatBytes(...leaves(3)), 3), RangeError)
  assert.throws(() => inclusionProof(new Uint8Array(0), 0), RangeError)
  assert.throws(() => inclusionProof(new Uint8Array(33), 0), RangeError)
})

interface Probe {
  path: string
  leafIdx: number
  treeSize: number
  root: string
  leafHash: string
  proof: string[] | null
  wantErr: boolean
}

sharedTest('agrees with the inclusion probes of transparency-dev/merkle', 'vectors/tlog/merkle-probes', () => {
  const probes: Probe[] = JSON.parse(readFileSync(sharedPath('vectors/tlog/merkle-probes/inclusion.json'), 'utf8'))
  assert.ok(probes.length > 50)
  for (const probe of probes) {
    const bytes = (text: string): Uint8Array => decodeBase64(text, probe.path)
    const holds = verifyInclusion({
      hash: bytes(probe.leafHash ?? ''),
      index: probe.leafIdx,
      size: probe.treeSize,
      proof: (probe.proof ?? []).map(bytes),
      root: bytes(probe.root ?? ''),
    })
    assert.equal(holds, !probe.wantErr, probe.path)
  }
})
