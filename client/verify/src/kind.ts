import { encodeUtf8, equalBytes } from '@cella/bytes'
import { LogError, receiptsOf } from '@cella/log'

/** What a file is, by how it begins; whether it is a good one, that says nothing of. */
export type FileKind =
  | 'receipt'
  | 'proof'
  | 'disclosure'
  | 'record'
  | 'export'
  | 'cose-receipt'
  | 'ccf-statement'
  | 'rekor-entry'
  | 'sigsum-proof'

const beginnings: readonly (readonly [string, FileKind])[] = [
  ['c2sp.org/tlog-proof@v1\n', 'proof'],
  ['cella-export/1\n', 'export'],
  ['version=', 'sigsum-proof'],
]

const formats: Readonly<Record<string, FileKind>> = {
  'cella-receipt/1': 'receipt',
  'cella-disclosure/1': 'disclosure',
  'cella-record/1': 'record',
}

const jsonBytesMax = 67_108_864
/** CBOR tag 18, COSE_Sign1. */
const coseSign1 = 0xd2

/** `undefined` for a file of no known kind. */
export function kindOf(bytes: Uint8Array): FileKind | undefined {
  for (const [text, kind] of beginnings) {
    if (equalBytes(bytes.subarray(0, text.length), encodeUtf8(text))) return kind
  }
  if (bytes[0] === coseSign1) return holdsReceipts(bytes) ? 'ccf-statement' : 'cose-receipt'
  const json = bytes.length <= jsonBytesMax ? jsonOf(bytes) : undefined
  if (typeof json !== 'object' || json === null) return undefined
  const { format } = json as { format?: unknown }
  if (typeof format === 'string') return Object.hasOwn(formats, format) ? formats[format] : undefined
  return Object.hasOwn(json, 'inclusionProof') ? 'rekor-entry' : undefined
}

function holdsReceipts(bytes: Uint8Array): boolean {
  try {
    return receiptsOf(bytes).length > 0
  } catch (error) {
    if (error instanceof LogError) return false
    throw error
  }
}

function jsonOf(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch {
    return undefined
  }
}
