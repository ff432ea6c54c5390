import { FormatError } from '@cella/bytes'
import {
  type CborItem,
  type CborKey,
  cborArray,
  cborBytes,
  cborInteger,
  cborMap,
  cborOnly,
  cborText,
  decodeCbor,
} from '@cella/cbor'
import { type CoseSign1, parseCoseSign1 } from '../cose/sign1.ts'
import { EvidenceError } from '../error.ts'

/** ES384: the one algorithm that the Nitro security module signs with. */
const es384 = -35
const payloadBytesMax = 16_384
/** A payload of the greatest size with its COSE_Sign1 around it. */
export const nitroDocumentBytesMax: number = payloadBytesMax + 256
const caCountMax = 7

/** What an AWS Nitro attestation document says (attestation_process.md §2.2). Nothing about it has been verified. */
export interface NitroDocument {
  /** The enclave: `i-<instance>-enc<number>`. */
  readonly moduleId: string
  /** When it was made, by the hypervisor's clock: milliseconds since 1970. */
  readonly timestamp: number
  /** By index, 0 to 31: those that were locked, PCR0 among them. 32, 48 or 64 bytes. */
  readonly pcrs: ReadonlyMap<number, Uint8Array>
  /** DER of the certificate whose key signed the document. */
  readonly certificate: Uint8Array
  /** DER, root first, its issuer last: 1 to 7. */
  readonly cabundle: readonly Uint8Array[]
  /** 1 to 1024 bytes that the enclave calls its public key; `undefined` when it gave none. */
  readonly publicKey: Uint8Array | undefined
  /** 0 to 1024 bytes each. */
  readonly userData: Uint8Array | undefined
  readonly nonce: Uint8Array | undefined
}

const members = [
  'module_id',
  'digest',
  'timestamp',
  'pcrs',
  'certificate',
  'cabundle',
  'public_key',
  'user_data',
  'nonce',
] as const

/**
 * Reads an attestation document, a COSE_Sign1 with or without its tag, whole and nothing after it; at most 16,640 bytes.
 * Throws FormatError; ERR_EVIDENCE_UNSUPPORTED for a document of a NitroTPM, which is of an instance and no enclave.
 * Results share memory with `bytes`.
 */
export function parseNitroDocument(bytes: Uint8Array): {
  readonly message: CoseSign1
  readonly document: NitroDocument
} {
  const message = parseCoseSign1(bytes, 'document', { bytesMax: nitroDocumentBytesMax })
  if (message.algorithm !== es384) {
    throw new FormatError('document.protected.alg', `is ${message.algorithm}, expected ${es384} (ES384)`)
  }
  // "We have nothing in unprotected" (§3.1): what is there would be signed by nobody.
  if (message.unprotected.size > 0) throw new FormatError('document.unprotected', 'is not empty')
  if (message.payload.length > payloadBytesMax) {
    throw new FormatError('document.payload', `has ${message.payload.length} bytes, at most ${payloadBytesMax}`)
  }
  return { message, document: documentOf(message.payload) }
}

function documentOf(payload: Uint8Array): NitroDocument {
  const field = 'document'
  // Since 2025 the module writes its maps and lists with indefinite lengths.
  const options = { bytesMax: payloadBytesMax, itemsMax: 256, depthMax: 3, indefinite: 'allowed' } as const
  const item = decodeCbor(payload, field, options)
  const entries = cborMap(item, field)
  if (entries.has('nitrotpm_pcrs')) {
    throw new EvidenceError(
      'ERR_EVIDENCE_UNSUPPORTED',
      'document: is of the NitroTPM of an EC2 instance: its owner can enter the instance, so it is no enclave',
    )
  }
  cborOnly(entries, members, field)
  const digest = cborText(entries.get('digest'), `${field}.digest`)
  if (digest !== 'SHA384') throw new FormatError(`${field}.digest`, 'is not SHA384')
  const certificateLength = { min: 1, max: 1024 }
  return {
    moduleId: cborText(entries.get('module_id'), `${field}.module_id`, { min: 1, max: 256 }),
    timestamp: cborInteger(entries.get('timestamp'), `${field}.timestamp`, { min: 1 }),
    pcrs: pcrsOf(entries.get('pcrs'), `${field}.pcrs`),
    certificate: cborBytes(entries.get('certificate'), `${field}.certificate`, certificateLength),
    cabundle: cborArray(entries.get('cabundle'), `${field}.cabundle`, { min: 1, max: caCountMax }).map((each, at) =>
      cborBytes(each, `${field}.cabundle[${at}]`, certificateLength),
    ),
    publicKey: optionalBytes(entries, 'public_key', 1),
    userData: optionalBytes(entries, 'user_data', 0),
    nonce: optionalBytes(entries, 'nonce', 0),
  }
}

function pcrsOf(item: CborItem | undefined, field: string): Map<number, Uint8Array> {
  const pcrs = new Map<number, Uint8Array>()
  for (const [index, value] of cborMap(item, field, { min: 1, max: 32 })) {
    if (typeof index !== 'number' || index < 0 || index > 31)
      throw new FormatError(field, 'have an index outside 0 to 31')
    const register = cborBytes(value, `${field}[${index}]`)
    if (![32, 48, 64].includes(register.length)) {
      throw new FormatError(`${field}[${index}]`, `has ${register.length} bytes, expected 32, 48 or 64`)
    }
    pcrs.set(index, register)
  }
  if (!pcrs.has(0)) throw new FormatError(field, 'have no PCR0, so nothing says which image it is')
  return pcrs
}

/** §3.2.2.2 caps user_data and nonce at 512 bytes and the CDDL of §2.2 at 1024; the module writes null for none. */
function optionalBytes(
  entries: ReadonlyMap<CborKey, CborItem>,
  name: 'public_key' | 'user_data' | 'nonce',
  min: number,
): Uint8Array | undefined {
  const item = entries.get(name)
  return item === undefined || item.type === 'null'
    ? undefined
    : cborBytes(item, `document.${name}`, { min, max: 1024 })
}
