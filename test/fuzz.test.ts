import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { encodeUtf8, FormatError } from '@cella/bytes'
import { exhaustiveCount, Fuzzer, type FuzzTarget } from '@cella/testing/fuzz'
import { allFuzzTargets, casesOf } from '../scripts/fuzz-targets.ts'

// A part of what `npm run fuzz` does; CELLA_LONG adds every truncation and every flipped byte of every valid input.

const root = fileURLToPath(new URL('..', import.meta.url))
const targets = await allFuzzTargets()
const seed = 20_261_128

test('no mutated input crashes, hangs, ends in another’s error or is taken for what it is not', async () => {
  const counts = casesOf(targets, 100_000)
  const found: unknown[] = []
  for (const [at, target] of targets.entries()) {
    const { finds } = await (await Fuzzer.of(target)).run({ seed, from: 0, to: counts[at]! })
    found.push(...finds)
  }
  assert.deepEqual(found, [])
})

test('nor does any truncation or flipped byte of any valid input', {
  skip: process.env.CELLA_LONG ? false : 'with CELLA_LONG alone',
}, async () => {
  const found: unknown[] = []
  for (const target of targets) {
    const options = { seed, from: 0, to: exhaustiveCount(target), exhaustive: true }
    found.push(...(await (await Fuzzer.of(target)).run(options)).finds)
  }
  assert.deepEqual(found, [])
})

/** What takes no bytes of others, or is reached through another target. */
const reached: Readonly<Record<string, string>> = {
  parsePayload: 'parseDocument',
  parseDecimal: 'parseWitnessSize',
  parseHash: 'parseProofFile',
  parseText: 'parseProofFile',
  parseSignatureLines: 'parseNote',
  parseExtensions: 'parseCertificate',
  parseForeignJsonObject: 'jwksKeysFor',
  parseJson: 'parseTcbInfo',
  parseSigned: 'parseTcbInfo',
  readSvnLevels: 'parseEnclaveIdentity',
  readEvidence: 'parseEvidence',
  readEvidenceJson: 'parseEvidenceJson',
  readTable: 'parseTable',
  readLogSigners: 'parseSignerStatement',
  parseSignerProof: 'parseReceiptBundle',
}
/** These are given a door, or things that were read, and no bytes. */
const notBytes = ['readAttestationPolicy', 'readDocumentSet', 'readEnclave', 'readEntries']

test('every function of core that reads hostile bytes is a target', () => {
  const pattern =
    /^export (?:async )?function\*? ((?:parse|read|decode|recognise)[A-Z]\w*|\w+(?:EvidenceOf|EndorsementsOf)\w*)/gm
  const files = readdirSync(join(root, 'core'), { recursive: true, encoding: 'utf8' }).filter(
    (name) => /[/\\]src[/\\].*\.ts$/.test(name) && !name.endsWith('.test.ts') && !name.includes('node_modules'),
  )
  const functions = files.flatMap((name) =>
    [...readFileSync(join(root, 'core', name), 'utf8').matchAll(pattern)].map(([, found]) => found!),
  )
  assert.ok(functions.length > 80, `only ${functions.length} found`)
  const covered = new Set(targets.map(({ name }) => name.split('/')[1]!.split(' ')[0]!))
  for (const through of Object.values(reached)) assert.ok(covered.has(through), through)
  const missing = functions.filter((name) => !covered.has(reached[name] ?? name) && !notBytes.includes(name))
  assert.deepEqual(missing, [], 'add a line to test/fuzz-targets.ts of its package')
})

// So that the above can't pass while blind.
const wanted = encodeUtf8('{"a":1,"b":"AAAA"}')
const sound: FuzzTarget = {
  name: 'sound',
  seeds: [wanted],
  run: (bytes) => {
    try {
      return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
    } catch {
      throw new FormatError('JSON', 'is none')
    }
  },
  errors: [FormatError],
}
const spin = (ms: number): void => {
  for (const start = process.threadCpuUsage(); process.threadCpuUsage(start).user < ms * 1000; );
}
const faults: readonly (readonly [string, Partial<FuzzTarget>])[] = [
  ['foreign-error', { run: (bytes) => JSON.parse(new TextDecoder().decode(bytes)) }],
  ['another-encoding', { encode: (value) => encodeUtf8(JSON.stringify(value)) }],
  ['acceptance', { meaning: (value: { readonly a?: number }) => `${value.a}` }],
  ['too-slow', { run: (bytes) => (bytes.length > wanted.length ? spin(30) : sound.run(bytes)) }],
]
for (const [problem, fault] of faults) {
  test(`the fuzzer finds ${problem}, with what makes the input again`, async () => {
    const run = async () =>
      (await Fuzzer.of({ ...sound, ...fault })).run({ seed, from: 0, to: problem === 'too-slow' ? 6 : 300 })
    const { finds } = await run()
    assert.ok(finds.length > 0)
    for (const find of finds) assert.equal(find.problem, problem)
    const { finds: again } = await run()
    assert.deepEqual(
      again.map(({ input }) => input),
      finds.map(({ input }) => input),
    )
  })
}

test('a seed that is not valid is no seed', async () => {
  await assert.rejects(Fuzzer.of({ ...sound, seeds: [encodeUtf8('{')] }), FormatError)
})
