import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Digest, decodeUtf8, encodeHex, encodeUtf8 } from '@cella/bytes'
import fc from 'fast-check'
import { leafOf, TestLog } from '../test/support.ts'
import {
  commitmentOf,
  consistencyProof,
  cosignNote,
  encodeAddCheckpoint,
  encodeCheckpointText,
  encodeCosignatures,
  encodeEntryBundle,
  encodeLeaf,
  encodeLogPolicy,
  encodeNote,
  encodeSignatureLine,
  encodeSkey,
  encodeVkey,
  encodeWitnessSize,
  equalLeaves,
  evaluateQuorum,
  generateNoteSigner,
  inclusionProof,
  isKeyName,
  LogError,
  leafHash,
  type NodePlace,
  nodeHash,
  parseAddCheckpoint,
  parseCheckpointText,
  parseCosignatures,
  parseEntryBundle,
  parseLeaf,
  parseLogMemory,
  parseLogPolicy,
  parseNote,
  parseProofFile,
  parseSkey,
  parseTile,
  parseTilePath,
  parseVkey,
  parseWitnessSize,
  partialTiles,
  publishedTag,
  randomTag,
  revokedTag,
  signNote,
  streamTag,
  TreeBuilder,
  tilePath,
  verifyCheckpoint,
  verifyConsistency,
  verifyInclusion,
  verifyNote,
} from './index.ts'

const malformed = { name: 'LogError', code: 'ERR_LOG_MALFORMED' }
const log = generateNoteSigner({ name: 'log.example/one', type: 'note' })
const [a, b, c] = ['a', 'b', 'c'].map((name) => generateNoteSigner({ name: `w.example/${name}`, type: 'cosignature' }))
const [va, vb, vc] = [a!, b!, c!].map((signer) => encodeVkey(signer.key))
const vlog = encodeVkey(log.key)

test('leaf: reads back, and any other byte before the commitment is refused', () => {
  const leaf = parseLeaf(leafOf(7, 8, 'receipt'))
  assert.equal(leaf.kind, 'receipt')
  assert.ok(equalLeaves(parseLeaf(encodeLeaf(leaf)), leaf))
  for (let length = 0; length < 64; length++) assert.throws(() => parseLeaf(leafOf(7).slice(0, length)), malformed)
  assert.throws(() => parseLeaf(new Uint8Array(65)), malformed)
  for (let at = 0; at < 64; at++) {
    const bent = leafOf(7)
    bent[at]! ^= 0x80
    if (at < 16) assert.throws(() => parseLeaf(bent), malformed, `byte ${at}`)
    else assert.equal(equalLeaves(parseLeaf(bent), parseLeaf(leafOf(7))), false)
  }
  for (const kind of [0, 9, 255]) {
    const bent = leafOf(7)
    bent[1] = kind
    assert.throws(() => parseLeaf(bent), malformed)
  }
  assert.throws(() => encodeLeaf({ ...leaf, tag: new Uint8Array(15) }), RangeError)
  assert.throws(() => encodeLeaf({ ...leaf, commitment: new Uint8Array(31) }), RangeError)
})

test('commitments and tags differ by kind, salt, body, digest, key and number', () => {
  const salt = new Uint8Array(32)
  const digest = 'ab'.repeat(32) as Digest
  const all = [
    commitmentOf('document', salt, encodeUtf8('x')).subarray(0, 16),
    commitmentOf('state', salt, encodeUtf8('x')).subarray(0, 16),
    commitmentOf('document', salt.slice().fill(1), encodeUtf8('x')).subarray(0, 16),
    commitmentOf('document', salt, encodeUtf8('y')).subarray(0, 16),
    publishedTag(digest),
    revokedTag(digest),
    publishedTag('ac'.repeat(32) as Digest),
    streamTag(salt, 0),
    streamTag(salt, 1),
    streamTag(salt, 2 ** 40),
    streamTag(salt.slice().fill(1), 0),
    randomTag(),
    randomTag(),
  ]
  assert.equal(new Set(all.map(encodeHex)).size, all.length)
  assert.ok(all.every((tag) => tag.length === 16))
  assert.throws(() => commitmentOf('document', new Uint8Array(31), salt), RangeError)
  assert.throws(() => streamTag(new Uint8Array(31), 0), RangeError)
  assert.throws(() => streamTag(salt, -1), RangeError)
})

test('keys read back; every cut and every changed character is refused', () => {
  for (const signer of [log, a!]) {
    const vkey = encodeVkey(signer.key)
    const skey = encodeSkey(signer)
    assert.deepEqual(parseVkey(vkey), signer.key)
    assert.deepEqual(parseSkey(skey).key, signer.key)
    for (const [text, parse] of [
      [vkey, parseVkey],
      [skey, parseSkey],
    ] as const) {
      for (let at = 0; at < text.length; at++) {
        assert.throws(() => parse(text.slice(0, at)), malformed)
        const bent = text.slice(0, at) + String.fromCharCode(text.charCodeAt(at) ^ 1) + text.slice(at + 1)
        assert.throws(() => parse(bent), malformed, bent.slice(0, at + 1))
      }
    }
  }
  assert.ok(!String(new Error(JSON.stringify(log))).includes(encodeSkey(log).slice(-20)))
  for (const name of ['', 'a b', 'a+b', 'a\u00a0b', 'a\u0085', 'a\u2003', '\n']) assert.equal(isKeyName(name), false)
})

test('note: an unknown signature is passed over, a bent one of a known key is not', () => {
  const text = 'hello\n\nworld\n'
  const lines = [signNote(text, log), cosignNote(text, a!, 17)]
  const note = parseNote(encodeNote({ text, signatures: lines }))
  assert.equal(note.text, text)
  assert.deepEqual(
    verifyNote(note, [log.key, a!.key]).map(({ time }) => time),
    [undefined, 17],
  )
  assert.equal(verifyNote(note, [b!.key]).length, 0)
  const later = { text: `${text}!\n`, signatures: lines }
  assert.throws(() => verifyNote(later, [log.key]), { code: 'ERR_LOG_SIGNATURE' })
  assert.throws(() => verifyNote(later, [a!.key]), { code: 'ERR_LOG_SIGNATURE' })
  const moved = { ...lines[1]!, bytes: lines[1]!.bytes.slice() }
  moved.bytes[7]! ^= 1
  assert.throws(() => verifyNote({ text, signatures: [moved] }, [a!.key]), { code: 'ERR_LOG_SIGNATURE' })
  assert.throws(() => cosignNote(text, log, 1), RangeError)
  assert.throws(() => signNote(text, a!), RangeError)
})

test('note: one key counts once, by its first signature', () => {
  const text = 'hello\n'
  const signatures = [cosignNote(text, a!, 17), cosignNote(text, a!, 99)]
  assert.deepEqual(
    verifyNote({ text, signatures }, [a!.key]).map(({ time }) => time),
    [17],
  )
})

test('note: other spellings are refused', () => {
  const text = 'hello\n'
  const line = encodeSignatureLine(signNote(text, log))
  const good = `${text}\n${line}`
  assert.equal(parseNote(encodeUtf8(good)).signatures.length, 1)
  for (const [name, bad] of Object.entries({
    'no signature': `${text}\n`,
    'no text': `\n${line}`,
    'only an empty line': `\n\n${line}`,
    'no final newline': good.slice(0, -1),
    'a hyphen for the dash': good.replace('—', '-'),
    'two spaces': good.replace('— ', '—  '),
    'a carriage return': good.replaceAll('\n', '\r\n'),
    'a tab': good.replace('hello', 'hel\tlo'),
    'a signature of four bytes': `${text}\n— x AAAAAA==\n`,
    'url-safe base64': good.replace(/ ([A-Za-z0-9+/]{8})/, ' __-_AAAA'),
    'a name with a plus': good.replace('log.example', 'log+example'),
    '101 signatures': `${text}\n${line.repeat(101)}`,
  })) {
    assert.throws(() => parseNote(encodeUtf8(bad)), malformed, name)
  }
  assert.throws(() => parseNote(new Uint8Array(1_000_001)), malformed)
})

test('checkpoint: reads back, other spellings are refused', () => {
  const root = 'A'.repeat(43)
  for (const text of [`o\n0\n${root}=\n`, `o\n9007199254740991\n${root}=\next\nanother\n`]) {
    assert.equal(encodeCheckpointText(parseCheckpointText(text)), text)
  }
  for (const text of [
    '',
    'o\n',
    'o\n1\n',
    `\n1\n${root}=\n`,
    `o\n01\n${root}=\n`,
    `o\n+1\n${root}=\n`,
    `o\n-1\n${root}=\n`,
    `o\n9007199254740992\n${root}=\n`,
    `o\n1e3\n${root}=\n`,
    `o\n1\n${root}\n`,
    `o\n1\n${root}B\n`,
    `o\n1\nAAAA\n`,
    `o\n1\n${root}=`,
    `o\n1\n${root}=\n\n`,
    `o\n1\n${root}=\n\next\n`,
  ]) {
    assert.throws(() => parseCheckpointText(text), malformed, JSON.stringify(text))
  }
})

test('policy: reads back, and white space and comments mean nothing', () => {
  const text = `# logs\n\tlog ${vlog}  https://log.example \nwitness a ${va} http://w\nwitness b ${vb}\n\nwitness c ${vc}\ngroup two 2 a b\ngroup q any two c\nquorum q\n`
  const policy = parseLogPolicy(encodeUtf8(text))
  assert.deepEqual(parseLogPolicy(encodeLogPolicy(policy)), policy)
  assert.equal(policy.logs[0]?.url, 'https://log.example')
  assert.equal(policy.quorum, 'q')
})

test('policy: counts witnesses by the quorum', () => {
  const keys = `log ${vlog}\nwitness a ${va}\nwitness b ${vb}\nwitness c ${vc}\n`
  const cases: [string, string, string, boolean][] = [
    ['quorum none\n', '', '', true],
    ['quorum a\n', 'a', 'a', true],
    ['quorum a\n', 'b c', '', false],
    ['group g 2 a b c\nquorum g\n', 'a', 'a', false],
    ['group g 2 a b c\nquorum g\n', 'a c', 'a c', true],
    ['group g all a b\nquorum g\n', 'a c', 'a', false],
    ['group g all a b\nquorum g\n', 'a b c', 'a b', true],
    ['group g any a b\ngroup h all g c\nquorum h\n', 'b c', 'b c', true],
    ['group g any a b\ngroup h all g c\nquorum h\n', 'a b', 'a b', false],
  ]
  for (const [lines, cosigned, counted, satisfied] of cases) {
    const policy = parseLogPolicy(encodeUtf8(keys + lines))
    const result = evaluateQuorum(policy, new Set(cosigned.split(' ')))
    assert.equal(result.satisfied, satisfied, lines + cosigned)
    assert.equal(result.witnesses.map(({ name }) => name).join(' '), counted, lines + cosigned)
  }
})

test('policy: what could be read in two ways is refused', () => {
  const sameKey = encodeVkey({ ...a!.key, name: 'w.example/other' }).replace(a!.key.id, '00000000')
  for (const text of [
    '',
    'quorum none',
    'quorum none\nquorum none\n',
    'quorum a\n',
    `witness a ${va}\n`,
    `quorum a\nwitness a ${va}\n`,
    `witness none ${va}\nquorum none\n`,
    `witness a ${va}\nwitness a ${vb}\nquorum a\n`,
    `witness a ${va}\nwitness b ${va}\nquorum a\n`,
    `witness a ${va}\nwitness b ${sameKey}\nquorum a\n`,
    `log ${vlog}\nlog ${vlog}\nquorum none\n`,
    `log ${va}\nquorum none\n`,
    `witness a ${vlog}\nquorum a\n`,
    `witness a ${va}\ngroup g 2 a\nquorum g\n`,
    `witness a ${va}\ngroup g 0 a\nquorum g\n`,
    `witness a ${va}\ngroup g 01 a\nquorum g\n`,
    `witness a ${va}\ngroup g any\nquorum g\n`,
    `witness a ${va}\ngroup g any a a\nquorum g\n`,
    `witness a ${va}\ngroup g any a\ngroup h any a\nquorum g\n`,
    `witness a ${va}\ngroup g any none\nquorum g\n`,
    `witness a ${va}\ngroup a any a\nquorum a\n`,
    `group g any g\nquorum g\n`,
    `log ${vlog} u v\nquorum none\n`,
    'quorum none x\n',
    'Quorum none\n',
    'quorum none\r\n',
    'quorum none\u0000\n',
  ]) {
    assert.throws(() => parseLogPolicy(encodeUtf8(text)), malformed, JSON.stringify(text))
  }
})

test('policy: one witness under two keys of a note counts once each, a stranger never', () => {
  const text = new TestLog().text(0)
  const policy = parseLogPolicy(encodeUtf8(`log ${vlog}\nwitness a ${va}\nwitness b ${vb}\ngroup g 2 a b\nquorum g\n`))
  const open = (...signatures: ReturnType<typeof signNote>[]) =>
    verifyCheckpoint(encodeNote({ text, signatures: [signNote(text, log), ...signatures] }), policy)
  assert.throws(() => open(cosignNote(text, a!, 1), cosignNote(text, a!, 2)), { code: 'ERR_LOG_QUORUM' })
  assert.throws(() => open(cosignNote(text, a!, 1), cosignNote(text, c!, 2)), { code: 'ERR_LOG_QUORUM' })
  assert.deepEqual(open(cosignNote(text, a!, 5), cosignNote(text, b!, 2)).times, { earliest: 2, latest: 5 })
})

test('tile paths read back, other spellings are refused', () => {
  for (const [index, path] of [
    [0, 'tile/0/000'],
    [999, 'tile/0/999'],
    [1_000, 'tile/0/x001/000'],
    [1_234_067, 'tile/0/x001/x234/067'],
  ] as const) {
    assert.equal(tilePath({ level: 0, index, width: 256 }), path)
    assert.deepEqual(parseTilePath(path), { level: 0, index, width: 256 })
    assert.deepEqual(parseTilePath(`${path}.p/17`), { level: 0, index, width: 17 })
  }
  assert.equal(parseTilePath('tile/entries/x001/000.p/255').level, 'entries')
  for (const path of [
    'tile/0/0',
    'tile/0/0000',
    'tile/0/x000/001',
    'tile/0/001/002',
    'tile/00/000',
    'tile/64/000',
    'tile/-1/000',
    'tile/0/000.p/0',
    'tile/0/000.p/256',
    'tile/0/000.p/01',
    'tile/0/000.p/',
    'tile/data/000',
    '/tile/0/000',
    'tile/0/000/',
    'tile/0/../000',
    `tile/0/${'x999/'.repeat(8)}999`,
  ]) {
    assert.throws(() => parseTilePath(path), malformed, path)
  }
})

test('partial tiles are those of the specification’s examples', () => {
  const paths = (size: number) => partialTiles(size).map(tilePath)
  assert.deepEqual(paths(0), [])
  assert.deepEqual(paths(256), ['tile/1/000.p/1'])
  assert.deepEqual(paths(70_000), ['tile/entries/273.p/112', 'tile/0/273.p/112', 'tile/1/001.p/17', 'tile/2/000.p/1'])
})

test('bundles and tiles read back; every cut is refused', () => {
  const entries = [new Uint8Array(0), encodeUtf8('abc'), new Uint8Array(65_535)]
  const bytes = encodeEntryBundle(entries)
  assert.deepEqual(parseEntryBundle(bytes, 3), entries)
  for (const width of [0, 1, 2, 4]) assert.throws(() => parseEntryBundle(bytes, width), malformed)
  for (let length = 0; length < 10; length++) {
    assert.throws(() => parseEntryBundle(bytes.subarray(0, length), 3), malformed)
  }
  assert.throws(() => encodeEntryBundle([new Uint8Array(65_536)]), RangeError)
  assert.equal(parseTile(new Uint8Array(64), 2).length, 2)
  for (const length of [0, 63, 65, 96]) assert.throws(() => parseTile(new Uint8Array(length), 2), malformed)
})

test('proofs of any tree verify, and no other does', async () => {
  const leaves = Array.from({ length: 200 }, (_, index) => leafHash(leafOf(index)))
  const perfect = ({ level, index }: NodePlace): Uint8Array =>
    level === 0
      ? leaves[index]!
      : nodeHash(perfect({ level: level - 1, index: index * 2 }), perfect({ level: level - 1, index: index * 2 + 1 }))
  const hashes = async (places: readonly NodePlace[]) => places.map(perfect)
  const rootOf = (size: number): Uint8Array => {
    const tree = new TreeBuilder()
    for (const leaf of leaves.slice(0, size)) tree.append(leaf)
    return tree.root()
  }
  const sizes = fc.tuple(fc.integer({ min: 1, max: 200 }), fc.nat(), fc.nat(), fc.nat())
  await fc.assert(
    fc.asyncProperty(sizes, async ([size, pick, place, bit]) => {
      const index = pick % size
      const root = rootOf(size)
      const path = await inclusionProof({ index, size, hashes })
      const inclusion = { index, size, leaf: leaves[index]!, path, root }
      verifyInclusion(inclusion)
      const wrong = { code: 'ERR_LOG_PROOF' }
      assert.throws(() => verifyInclusion({ ...inclusion, path: [...path, root] }), wrong)
      assert.throws(() => verifyInclusion({ ...inclusion, leaf: new Uint8Array(root).reverse() }), wrong)
      if (path.length > 0) assert.throws(() => verifyInclusion({ ...inclusion, path: bend(path, place, bit) }), wrong)

      const oldSize = index + 1
      const consistency = {
        oldSize,
        newSize: size,
        oldRoot: rootOf(oldSize),
        newRoot: root,
        path: await consistencyProof({ oldSize, newSize: size, hashes }),
      }
      verifyConsistency(consistency)
      assert.throws(() => verifyConsistency({ ...consistency, oldRoot: new Uint8Array(root).reverse() }), wrong)
      assert.throws(() => verifyConsistency({ ...consistency, newRoot: new Uint8Array(root).reverse() }), wrong)
      assert.throws(() => verifyConsistency({ ...consistency, path: [...consistency.path, root] }), wrong)
      if (consistency.path.length > 0) {
        const path = bend(consistency.path, place, bit)
        assert.throws(() => verifyConsistency({ ...consistency, path }), wrong)
      }
    }),
  )
})

test('a tree goes on from its right edge', () => {
  const whole = new TreeBuilder()
  for (let index = 0; index < 70; index++) {
    const resumed = new TreeBuilder({ size: whole.size, edge: whole.edge() })
    resumed.append(leafHash(leafOf(index)))
    whole.append(leafHash(leafOf(index)))
    assert.deepEqual(resumed.root(), whole.root())
  }
  assert.throws(() => new TreeBuilder({ size: 70, edge: whole.edge().slice(1) }), malformed)
})

test('witness messages read back; every cut and other spelling is refused', () => {
  const note = new TestLog([leafOf(1)]).signed()
  const request = encodeAddCheckpoint({ oldSize: 7, path: [new Uint8Array(32)], checkpoint: note })
  assert.deepEqual(encodeAddCheckpoint(parseAddCheckpoint(request)), request)
  const text = decodeUtf8(request, 'request')
  for (const bad of [
    text.replace('old 7', 'old 07'),
    text.replace('old 7', 'old  7'),
    text.replace('old 7\n', ''),
    text.replace('AAA=\n', 'AA==\n'),
    text.replace('AAA=\n', `AAA=\n${`${'A'.repeat(43)}=\n`.repeat(63)}`),
    text.slice(0, text.indexOf('\n\n') + 1),
  ]) {
    assert.throws(() => parseAddCheckpoint(encodeUtf8(bad)), malformed, bad.slice(0, 20))
  }
  const lines = encodeCosignatures([cosignNote('x\n', a!, 1)])
  assert.deepEqual(encodeCosignatures(parseCosignatures(lines)), lines)
  assert.throws(() => parseCosignatures(lines.subarray(1)), malformed)
  assert.equal(parseWitnessSize(encodeWitnessSize(12)), 12)
  for (const bad of ['12', '012\n', '12\n\n', '', '\n', '-1\n']) {
    assert.throws(() => parseWitnessSize(encodeUtf8(bad)), malformed)
  }
})

test('random bytes and random text only ever throw LogError', () => {
  const parsers: ((bytes: Uint8Array) => unknown)[] = [
    parseLeaf,
    parseNote,
    parseLogPolicy,
    parseProofFile,
    parseAddCheckpoint,
    parseCosignatures,
    parseWitnessSize,
    parseLogMemory,
    (bytes) => parseEntryBundle(bytes, 2),
    (bytes) => parseVkey(new TextDecoder().decode(bytes)),
    (bytes) => parseSkey(`PRIVATE+KEY+${new TextDecoder().decode(bytes)}`),
    (bytes) => parseTilePath(new TextDecoder().decode(bytes)),
    (bytes) => parseCheckpointText(new TextDecoder().decode(bytes)),
  ]
  const seeds = [encodeUtf8('log \nquorum none\n'), new TestLog([leafOf(1)]).signed(), encodeUtf8(vlog)]
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    fc.string({ unit: 'grapheme' }).map((text) => new TextEncoder().encode(text)),
    fc.tuple(fc.constantFrom(...seeds), fc.nat(), fc.nat(255)).map(([seed, at, value]) => {
      const bent = seed.slice()
      bent[at % bent.length] = value
      return bent
    }),
  )
  fc.assert(
    fc.property(fc.constantFrom(...parsers), bytes, (parse, input) => {
      try {
        parse(input)
      } catch (error) {
        assert.ok(error instanceof LogError, String(error))
      }
    }),
    { numRuns: 2_000 },
  )
})

function bend(path: readonly Uint8Array[], place: number, bit: number): Uint8Array[] {
  return path.map((hash, at) => {
    if (at !== place % path.length) return hash
    // Not slice: hashes may be Buffers, whose slice shares memory.
    const bent = new Uint8Array(hash)
    bent[(bit >> 3) % 32]! ^= 1 << (bit & 7)
    return bent
  })
}
