import { ByteReader, concatBytes, decodeUtf8, encodeUtf8, FormatError } from '@cella/bytes'
import { TeeError } from '../error.ts'
import { lookAt } from '../files.ts'
import { malformed } from '../snp-pieces.ts'
import { type Attempt, type Probe, requireLength, type SourceDriver } from '../source.ts'
import { withDevice } from './device.ts'
import { errnoName, ioctlReadWrite, type NativeCalls, nativeCalls } from './ioctl.ts'

// The Nitro Security Module: CBOR requests and answers of aws-nitro-enclaves-nsm-api through one ioctl of /dev/nsm.

const answerBytesMax = 0x3000
/** Two struct iovec: where the request lies, where the answer may go. */
const messageLength = 32
const request = ioctlReadWrite(0x0a, 0, messageLength)

export interface NsmOptions {
  readonly device?: string
  /** How the kernel is called, unless a test stands in for it. */
  readonly calls?: NativeCalls
}

/** An AWS Nitro Enclave. The binding digest is the document's `user_data`. */
export function nsmDriver({ device = '/dev/nsm', calls }: NsmOptions = {}): SourceDriver {
  return {
    name: 'nitro-nsm',
    title: 'AWS Nitro Enclaves: /dev/nsm',
    async probe(): Promise<Probe> {
      const attempts: Attempt[] = []
      if (!(await lookAt(device, 'rw', attempts))) {
        return { source: undefined, attempts, why: 'this is not a Nitro Enclave' }
      }
      const native = calls ?? (await nativeCalls())
      return {
        attempts,
        source: {
          name: 'nitro-nsm',
          bindingLength: 64,
          async collect(binding) {
            requireLength(binding, 64)
            const document = readDocument(await ask(native, device, attestationRequest(binding)))
            return [{ role: 'cpu', format: 'nitro/1', fields: { document } }]
          },
        },
      }
    },
  }
}

function ask(calls: NativeCalls, device: string, question: Uint8Array): Promise<Uint8Array> {
  return withDevice(device, (descriptor) => {
    const [message, asked, answer] = [calls.pin(messageLength), calls.pin(question.length), calls.pin(answerBytesMax)]
    asked.bytes.set(question)
    const view = new DataView(message.bytes.buffer)
    view.setBigUint64(0, asked.address, true)
    view.setBigUint64(8, BigInt(question.length), true)
    view.setBigUint64(16, answer.address, true)
    view.setBigUint64(24, BigInt(answerBytesMax), true)
    const errno = calls.ioctl(descriptor, request, message.address)
    if (errno !== 0) return { errno: errnoName(errno), why: 'the security module gave no document' }
    // The driver writes back how much it put there.
    const length = view.getBigUint64(24, true)
    if (view.getBigUint64(16, true) !== answer.address || length > BigInt(answerBytesMax)) {
      throw new TeeError(
        'ERR_TEE_MALFORMED',
        `${device}: says that ${length} bytes are in a buffer of ${answerBytesMax}`,
      )
    }
    return { value: answer.bytes.slice(0, Number(length)) }
  })
}

/** `{"Attestation": {"user_data": bytes, "nonce": null, "public_key": null}}`, RFC 8949. */
function attestationRequest(binding: Uint8Array): Uint8Array {
  const absent = Uint8Array.of(0xf6)
  return concatBytes(
    Uint8Array.of(0xa1),
    cborText('Attestation'),
    Uint8Array.of(0xa3),
    ...[cborText('user_data'), Uint8Array.of(0x58, binding.length), binding],
    ...[cborText('nonce'), absent],
    ...[cborText('public_key'), absent],
  )
}

/** At most 23 bytes. */
function cborText(text: string): Uint8Array {
  return concatBytes(Uint8Array.of(0x60 | text.length), encodeUtf8(text))
}

/** `{"Attestation": {"document": bytes}}`, or `{"Error": text}`. Throws TeeError. */
function readDocument(answer: Uint8Array): Uint8Array {
  try {
    const reader = new ByteReader(answer)
    const kind = onlyKey(reader, 'answer')
    if (kind === 'Error') {
      const why = takeText(reader, 'error')
      reader.end('answer')
      throw new TeeError('ERR_TEE_REFUSED', `the security module answered ${why}`)
    }
    if (kind !== 'Attestation') throw new FormatError('answer', `is of ${kind}, asked for Attestation`)
    const key = onlyKey(reader, 'Attestation')
    if (key !== 'document') throw new FormatError('Attestation', `has ${key} and no document`)
    const initial = reader.uint8('document')
    // A byte string with a length of one or two bytes: documents have 4 to 12 KiB.
    if (initial !== 0x58 && initial !== 0x59) throw new FormatError('document', 'is not a byte string')
    const length = initial === 0x58 ? reader.uint8('document length') : reader.uint16('document length')
    const document = reader.take(length, 'document').slice()
    reader.end('answer')
    return document
  } catch (cause) {
    if (cause instanceof TeeError) throw cause
    throw malformed('the security module’s answer', cause)
  }
}

function onlyKey(reader: ByteReader, field: string): string {
  if (reader.uint8(field) !== 0xa1) throw new FormatError(field, 'is not a map of one')
  return takeText(reader, field)
}

function takeText(reader: ByteReader, field: string): string {
  const initial = reader.uint8(field)
  if (initial >> 5 !== 3 || (initial & 31) > 23) throw new FormatError(field, 'is not a short text')
  const text = decodeUtf8(reader.take(initial & 31, field), field)
  if (!/^[A-Za-z_]+$/.test(text)) throw new FormatError(field, 'is not a name')
  return text
}
