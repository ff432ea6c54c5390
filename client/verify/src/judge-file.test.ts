import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { decodeBase64, decodeHex, encodeUtf8 } from '@cella/bytes'
import {
  encodeLogPolicy,
  encodeProofFile,
  encodeVkey,
  generateNoteSigner,
  parseLogPolicy,
  parseProofFile,
} from '@cella/log'
import { initPolicyEngine, policyEngineUrl } from '@cella/policy'
import { digestOf, type KeyId } from '@cella/primitives'
import { ccfCase, sigsumCase } from '@cella/testing/foreign-proofs'
import {
  anchorsFileSchema,
  anchorsOf,
  encodeProofExtra,
  type FileAnchors,
  type JudgedFile,
  judgeFile,
  parsePublicKey,
} from './index.ts'

const vectorOf = (page: string): Record<string, string> => {
  const text = readFileSync(new URL(`../../../docs/formats/${page}`, import.meta.url), 'utf8')
  return JSON.parse(/```json\n(.*?)```/s.exec(text)![1]!)
}
const events = vectorOf('events.md')
const log = vectorOf('log.md')
const receipts = new URL('../../../core/receipt/testdata/', import.meta.url)

const now = 1_800_000_000
const startEngine = async (): Promise<void> => initPolicyEngine(readFileSync(policyEngineUrl()))
const anchorsBy = (policy: string, more: Partial<FileAnchors> = {}): FileAnchors => ({
  organisations: [],
  roots: [],
  logs: [{ policy: parseLogPolicy(encodeUtf8(policy)), independentWitnesses: [] }],
  vaults: [],
  now,
  ...more,
})
const judge = (
  bytes: Uint8Array,
  anchors: FileAnchors,
  more: { entry?: Uint8Array; key?: Uint8Array } = {},
): Promise<JudgedFile> => judgeFile(bytes, { anchors, startEngine, ...more })

const codesOf = ({ verdict }: JudgedFile): string[] =>
  [...verdict.statements, ...verdict.wrong, ...verdict.missing].map(({ code }) => code)
const openOf = ({ verdict }: JudgedFile): string[] => verdict.notProved.map(({ code }) => code)

const leaf = decodeHex(log.leaf0!, 'leaf')
const proof = encodeUtf8(log.proof!)
const organisation = { id: events.organisation as never, name: 'Clinic' }
const vault = events.vault as KeyId
const known = anchorsBy(events.policy!, { organisations: [organisation], vaults: [vault] })
const exported = decodeBase64(events.export!, 'export')
const sigsum = sigsumCase(2)
const sigsumAnchors = anchorsBy(new TextDecoder().decode(encodeLogPolicy(sigsum.policy)))
const sigsumKey = parsePublicKey(sshLine(sigsum.submitter))
const ccf = ccfCase()

/** Everything that proves: with what it takes, and what it says. */
const good: readonly {
  name: string
  kind: string
  bytes: Uint8Array
  anchors: FileAnchors
  more?: { entry?: Uint8Array; key?: Uint8Array }
  proved: string[]
  open: string[]
}[] = [
  {
    name: 'a .tlog-proof with its entry beside it',
    kind: 'proof',
    bytes: proof,
    anchors: anchorsBy(log.policy!),
    more: { entry: leaf },
    proved: ['LOGGED', 'LEAF'],
    open: ['KIND_ALONE', 'NOBODY_INDEPENDENT_WATCHED'],
  },
  {
    name: 'a .tlog-proof with its entry in it',
    kind: 'proof',
    bytes: encodeProofFile({ ...parseProofFile(proof), extra: encodeProofExtra({ leaf, document: undefined }) }),
    anchors: anchorsBy(log.policy!),
    proved: ['LOGGED', 'LEAF'],
    open: ['SIGNER_UNSHOWN', 'KIND_ALONE', 'NOBODY_INDEPENDENT_WATCHED'],
  },
  {
    name: 'a disclosure',
    kind: 'disclosure',
    bytes: encodeUtf8(events.disclosure!),
    anchors: known,
    proved: ['LOGGED', 'EVENT', 'FIELD'],
    open: ['SIGNER_UNSHOWN', 'WHOSE', 'HIDDEN', 'TRUTH', 'NOBODY_INDEPENDENT_WATCHED'],
  },
  {
    name: 'a record of an audit batch',
    kind: 'record',
    bytes: encodeUtf8(events.record!),
    anchors: known,
    proved: ['LOGGED', 'RECORD'],
    open: ['SIGNER_UNSHOWN', 'WHOSE', 'TRUTH', 'NOBODY_INDEPENDENT_WATCHED'],
  },
  {
    name: 'a completeness export',
    kind: 'export',
    bytes: exported,
    anchors: known,
    proved: ['RANGE', 'COMPLETE'],
    open: ['SIGNER_UNSHOWN', 'LOGGED_BEFORE_ACTING', 'NOBODY_INDEPENDENT_WATCHED'],
  },
  {
    name: 'a COSE receipt by the key in the policy',
    kind: 'cose-receipt',
    bytes: decodeHex(log.inclusionReceipt!, 'receipt'),
    anchors: anchorsBy(log.policy!),
    more: { entry: leaf },
    proved: ['COSE_INCLUSION'],
    open: ['TIME_IS_THE_HOSTS', 'COSE_NUMBERS', 'COSE_WATCHED'],
  },
  {
    name: 'a statement with a receipt of a CCF ledger',
    kind: 'ccf-statement',
    bytes: ccf.statement,
    anchors: anchorsBy('quorum none\n'),
    more: { key: ccf.key.spki },
    proved: ['CCF'],
    open: ['TIME_IS_THE_HOSTS', 'COSE_WATCHED', 'STATEMENT_SIGNATURE'],
  },
  {
    name: 'a proof of Sigsum',
    kind: 'sigsum-proof',
    bytes: sigsum.proof,
    anchors: sigsumAnchors,
    more: { entry: sigsum.file, key: sigsumKey },
    proved: ['SIGSUM'],
    open: ['NOBODY_INDEPENDENT_WATCHED'],
  },
]

describe('a good file is proved, in so many sentences, and says what it leaves open', () => {
  for (const { name, kind, bytes, anchors, more, proved, open } of good) {
    test(name, async () => {
      const judged = await judge(bytes, anchors, more)
      assert.deepEqual([judged.verdict.outcome, judged.kind], ['proved', kind], codesOf(judged).join())
      assert.deepEqual([codesOf(judged), openOf(judged)], [proved, open])
      for (const { text } of [...judged.verdict.statements, ...judged.verdict.notProved]) {
        assert.match(text, /^[A-Z0-9][^{}]+\.$/)
      }
    })
  }

  test('the proof file of docs/formats/proof-file.md, with its document', async () => {
    const page = vectorOf('proof-file.md')
    const judged = await judge(encodeUtf8(page.proof!), anchorsBy(page.policy!))
    assert.deepEqual(codesOf(judged), ['DOCUMENT', 'LOGGED'])
    assert.equal(judged.about.document, page.digest)
    const { extra } = parseProofFile(encodeUtf8(page.proof!))
    assert.equal(new TextDecoder().decode(extra), page.extra)
    const swap = async (change: (text: string) => string): Promise<JudgedFile> => {
      const file = encodeProofFile({
        ...parseProofFile(encodeUtf8(page.proof!)),
        extra: encodeUtf8(change(page.extra!)),
      })
      return judge(file, anchorsBy(page.policy!))
    }
    const salted = await swap((text) => text.replace('"salt":"ERER', '"salt":"EREE'))
    assert.deepEqual([salted.verdict.outcome, codesOf(salted)], ['disproved', ['EXTRA']])
    const torn = await swap((text) => text.replace('"salt"', '"slat"'))
    assert.deepEqual([torn.verdict.outcome, codesOf(torn)], ['disproved', ['PROOF']])
    const foreign = await swap(() => 'of another tool')
    assert.deepEqual([foreign.verdict.outcome, codesOf(foreign)], ['cannot-tell', ['ENTRY_NEEDED']])
  })

  test('a receipt of a real run, and its contract', async () => {
    const stored = anchorsFileSchema.parse(JSON.parse(readFileSync(new URL('anchors.json', receipts), 'utf8')))
    const bytes = new Uint8Array(readFileSync(new URL('run.cella-receipt', receipts)))
    const judged = await judge(bytes, anchorsOf(stored, 4_000_000_000))
    assert.deepEqual([judged.kind, judged.verdict.outcome, judged.about.status], ['receipt', 'proved', 'ok'])
    const cut = await judge(bytes.slice(0, -1), anchorsOf(stored, 4_000_000_000))
    assert.equal(cut.kind, undefined)
  })
})

describe('no changed byte is proved', () => {
  for (const { name, bytes, anchors, more } of good) {
    test(name, async () => {
      const whole = await judge(bytes, anchors, more)
      for (let at = 0; at < bytes.length; at += Math.ceil(bytes.length / 60)) {
        const judged = await judge(bytes.with(at, bytes[at]! ^ 1), anchors, more)
        // Text of other members of JSON and of an unknown extra is nothing to us: the same sentences, or none.
        if (judged.verdict.outcome === 'proved') assert.deepEqual(judged.verdict, whole.verdict, `byte ${at}`)
      }
      const shorter = await judge(bytes.slice(0, -3), anchors, more)
      assert.notEqual(shorter.verdict.outcome, 'proved')
    })
  }
})

const strangersKey = encodeVkey(generateNoteSigner({ name: 'log.example/two', type: 'note' }).key)
const otherLog = anchorsBy(`log ${strangersKey}\nquorum none\n`)

describe('who lacks an anchor can’t tell, and learns what to obtain', () => {
  const lacking: [string, Uint8Array, FileAnchors, { entry?: Uint8Array; key?: Uint8Array }, string][] = [
    ['no log', encodeUtf8(events.disclosure!), { ...known, logs: [] }, {}, 'LOG_UNKNOWN'],
    ['no entry', proof, anchorsBy(log.policy!), {}, 'ENTRY_NEEDED'],
    ['no organisation', exported, { ...known, organisations: [] }, {}, 'ORGANISATION_UNKNOWN'],
    ['no vault', exported, { ...known, vaults: [] }, {}, 'VAULT_UNKNOWN'],
    ['no entry of a COSE receipt', decodeHex(log.inclusionReceipt!, 'receipt'), known, {}, 'ENTRY_NEEDED'],
    [
      'no key of a COSE receipt',
      decodeHex(log.inclusionReceipt!, 'r'),
      { ...known, logs: [] },
      { entry: leaf },
      'KEY_NEEDED',
    ],
    ['no key of a ledger', ccf.statement, known, {}, 'KEY_NEEDED'],
    ['no file that was signed', sigsum.proof, sigsumAnchors, { key: sigsumKey }, 'ENTRY_NEEDED'],
    ['no submitter', sigsum.proof, sigsumAnchors, { entry: sigsum.file }, 'KEY_NEEDED'],
    ['a file of no known kind', encodeUtf8('hello'), known, {}, 'KIND_UNKNOWN'],
    ['nothing', new Uint8Array(0), known, {}, 'KIND_UNKNOWN'],
  ]
  for (const [name, bytes, anchors, more, code] of lacking) {
    test(name, async () => {
      const judged = await judge(bytes, anchors, more)
      assert.deepEqual([judged.verdict.outcome, codesOf(judged)], ['cannot-tell', [code]])
    })
  }

  test('fewer cosignatures than one’s policy asks for', async () => {
    const absent = encodeVkey(generateNoteSigner({ name: 'witness.example/v', type: 'cosignature' }).key)
    const stricter = log.policy!.replace('quorum w', `witness v ${absent}\nquorum v`)
    const judged = await judge(proof, anchorsBy(stricter), { entry: leaf })
    assert.deepEqual([judged.verdict.outcome, codesOf(judged)], ['cannot-tell', ['QUORUM']])
  })
})

describe('what contradicts is disproved', () => {
  test('another entry than the one that was logged', async () => {
    const judged = await judge(proof, anchorsBy(log.policy!), { entry: decodeHex(log.leaf1!, 'leaf') })
    assert.deepEqual([judged.verdict.outcome, codesOf(judged)], ['disproved', ['PROOF']])
  })

  test('a checkpoint from the future', async () => {
    const judged = await judge(proof, anchorsBy(log.policy!, { now: 1_700_000_000 }), { entry: leaf })
    assert.deepEqual([judged.verdict.outcome, codesOf(judged)], ['disproved', ['FUTURE']])
  })

  test('an export whose stream has a gap', async () => {
    // The leaf of the first entry of the stream changes its tag: the root no longer fits either.
    const bent = exported.with(exported.length - 65, exported.at(-65)! ^ 1)
    assert.equal((await judge(bent, known)).verdict.outcome, 'disproved')
  })

  test('a key that signed nothing', async () => {
    const { publicKey } = generateKeyPairSync('ed25519')
    const key = new Uint8Array(publicKey.export({ format: 'der', type: 'spki' }))
    const judged = await judge(decodeHex(log.inclusionReceipt!, 'receipt'), known, { entry: leaf, key })
    assert.deepEqual([judged.verdict.outcome, codesOf(judged)], ['disproved', ['PROOF']])
    const pem = publicKey.export({ format: 'pem', type: 'spki' }) as string
    assert.equal(digestOf(parsePublicKey(pem)), digestOf(key))
  })

  test('a log of another origin is unknown and not wrong', async () => {
    const judged = await judge(encodeUtf8(events.disclosure!), otherLog)
    assert.deepEqual(codesOf(judged), ['LOG_UNKNOWN'])
  })
})

function sshLine(key: Uint8Array): string {
  const prefix = Buffer.concat([Buffer.from([0, 0, 0, 11]), Buffer.from('ssh-ed25519'), Buffer.from([0, 0, 0, 32])])
  return `ssh-ed25519 ${Buffer.concat([prefix, key]).toString('base64')} submitter\n`
}
