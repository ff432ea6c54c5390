import { createHash, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { encodeBase64, encodeUtf8 } from '@cella/bytes'
import { CborTag, type CborValue, encodeCbor } from '@cella/cbor'
import { encodeVkey, noteKey, parseLogPolicy } from '@cella/log'

// Proofs of other people's logs, put together by hand from their specifications.

const sha = (...parts: Uint8Array[]): Buffer => createHash('sha256').update(Buffer.concat(parts)).digest()
const spkiOf = (publicKey: KeyObject): Uint8Array => new Uint8Array(publicKey.export({ format: 'der', type: 'spki' }))

/** A CCF ledger of one node above the leaf, as the profile's text describes it. */
export function ccfCase() {
  const pair = generateKeyPairSync('ec', { namedCurve: 'P-384' })
  const bare = [encodeCbor(new Map([[1, -7]])), new Map<number, CborValue>(), encodeUtf8('payload'), new Uint8Array(64)]
  const data = sha(encodeCbor(new CborTag(18, bare)))
  const transaction = new Uint8Array(32).fill(1)
  const evidence = 'ce:2.17:00ff'
  const [left, right] = [new Uint8Array(32).fill(2), new Uint8Array(32).fill(3)]
  const root = sha(sha(left, sha(transaction, sha(encodeUtf8(evidence)), data)), right)
  const proof = encodeCbor(
    new Map<number, CborValue>([
      [1, [transaction, evidence, new Uint8Array(data)]],
      [
        2,
        [
          [true, left],
          [false, right],
        ],
      ],
    ]),
  )
  const protectedBytes = encodeCbor(
    new Map<number, CborValue>([
      [1, -35],
      [15, new Map([[1, 'ledger.example']])],
      [395, 2],
    ]),
  )
  const signed = encodeCbor(['Signature1', protectedBytes, new Uint8Array(0), new Uint8Array(root)])
  const signature = new Uint8Array(sign('sha384', signed, { key: pair.privateKey, dsaEncoding: 'ieee-p1363' }))
  const receipt = encodeCbor(
    new CborTag(18, [protectedBytes, new Map([[396, new Map([[-1, [proof]]])]]), null, signature]),
  )
  const statement = encodeCbor(new CborTag(18, bare.with(1, new Map([[394, [receipt]]]))))
  return { receipt, statement, root, evidence, key: { spki: spkiOf(pair.publicKey), issuer: 'ledger.example' } }
}

/** What a Sigsum log, its submitter and a witness sign, put together by hand. */
export function sigsumCase(version: 1 | 2) {
  const [submitter, logPair, witness] = [1, 2, 3].map(() => generateKeyPairSync('ed25519'))
  const raw = (pair: { publicKey: KeyObject }): Uint8Array => spkiOf(pair.publicKey).slice(-32)
  const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
  const file = encodeUtf8('a file')
  const message = new Uint8Array(sha(file))
  const checksum = sha(message)
  const leafSignature = sign(
    null,
    Buffer.concat([Buffer.from('sigsum.org/v1/tree-leaf\0'), checksum]),
    submitter!.privateKey,
  )
  const zero = Uint8Array.of(0)
  const leaf = sha(zero, checksum, leafSignature, sha(raw(submitter!)))
  const sibling = new Uint8Array(32).fill(7)
  const root = sha(Uint8Array.of(1), sibling, leaf)
  const keyHash = hex(sha(raw(logPair!)))
  const checkpoint = `sigsum.org/v1/tree/${keyHash}\n2\n${encodeBase64(root)}\n`
  const cosigned = sign(null, Buffer.from(`cosignature/v1\ntime 1760000000\n${checkpoint}`), witness!.privateKey)
  const proof = [
    `version=${version}`,
    `log=${keyHash}`,
    `leaf=${version === 1 ? `${hex(checksum.subarray(0, 2))} ` : ''}${hex(sha(raw(submitter!)))} ${hex(leafSignature)}`,
    '',
    'size=2',
    `root_hash=${hex(root)}`,
    `signature=${hex(sign(null, Buffer.from(checkpoint), logPair!.privateKey))}`,
    `cosignature=${hex(sha(raw(witness!)))} 1760000000 ${hex(cosigned)}`,
    '',
    'leaf_index=1',
    `node_hash=${hex(sibling)}`,
    '',
  ].join('\n')
  const logKey = noteKey({ name: 'sigsum.example', type: 'note', publicKey: raw(logPair!) })
  const witnessKey = noteKey({ name: 'witness.example', type: 'cosignature', publicKey: raw(witness!) })
  const policy = parseLogPolicy(
    encodeUtf8(`log ${encodeVkey(logKey)}\nwitness w ${encodeVkey(witnessKey)}\nquorum w\n`),
  )
  return { proof: encodeUtf8(proof), file, message, submitter: raw(submitter!), policy }
}
