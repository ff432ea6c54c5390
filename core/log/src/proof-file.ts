import { concatBytes, decodeBase64, encodeBase64, encodeUtf8 } from '@cella/bytes'
import { malformed, parseDecimal, parseHash, parseText, parsing } from './parsing.ts'

// c2sp.org/tlog-proof, extension .tlog-proof:
//
//   c2sp.org/tlog-proof@v1
//   extra BASE64               (may be absent; not authenticated)
//   index DECIMAL
//   BASE64 …                   (inclusion path, sibling first)
//
//   checkpoint note, verbatim

export interface ProofFile {
  /** Not authenticated: never act on it before something else verified it. */
  readonly extra: Uint8Array | undefined
  readonly index: number
  readonly path: readonly Uint8Array[]
  /** The note, to be verified. */
  readonly checkpoint: Uint8Array
}

const header = 'c2sp.org/tlog-proof@v1'
const proofBytesMax = 2_000_000

/** Throws ERR_LOG_MALFORMED. Nothing in the result is verified. */
export function parseProofFile(bytes: Uint8Array): ProofFile {
  const text = parseText(bytes, 'log proof', proofBytesMax)
  const end = text.indexOf('\n\n')
  if (end < 0) throw malformed('log proof', 'has no empty line before its checkpoint')
  const lines = text.slice(0, end).split('\n')
  if (lines.shift() !== header) throw malformed('log proof', `does not begin with ${header}`)
  let extra: Uint8Array | undefined
  if (lines[0]?.startsWith('extra ')) {
    const encoded = lines.shift()!.slice('extra '.length)
    extra = parsing(() => decodeBase64(encoded, 'log proof extra'))
  }
  const indexLine = lines.shift()
  if (!indexLine?.startsWith('index ')) throw malformed('log proof', 'has no index line')
  const index = parseDecimal(indexLine.slice('index '.length), 'log proof index')
  if (lines.length > 63) throw malformed('log proof', 'has a path of more than 63 hashes')
  const path = lines.map((line) => parseHash(line, 'log proof path'))
  return { extra, index, path, checkpoint: encodeUtf8(text.slice(end + 2)) }
}

/** The inverse of `parseProofFile`. */
export function encodeProofFile(proof: ProofFile): Uint8Array {
  const lines = [
    header,
    ...(proof.extra === undefined ? [] : [`extra ${encodeBase64(proof.extra)}`]),
    `index ${proof.index}`,
    ...proof.path.map(encodeBase64),
  ]
  return concatBytes(encodeUtf8(`${lines.join('\n')}\n\n`), proof.checkpoint)
}
