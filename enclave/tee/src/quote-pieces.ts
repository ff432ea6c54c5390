import { ByteReader, FormatError } from '@cella/bytes'
import { TeeError } from './error.ts'
import { malformed, requireBound } from './snp-pieces.ts'
import type { EvidencePiece } from './source.ts'

const teeTypes = { sgx: 0x00, tdx: 0x81 } as const
/** By the body type of a version 5 quote: its length, and where REPORTDATA lies in it. */
const bodies: Readonly<
  Record<number, { readonly tee: 'sgx' | 'tdx'; readonly length: number; readonly data: number }>
> = {
  1: { tee: 'sgx', length: 384, data: 320 },
  2: { tee: 'tdx', length: 584, data: 520 },
  3: { tee: 'tdx', length: 648, data: 520 },
}

/**
 * The entry of an Intel quote (DCAP v3 SGX, v4, v5). Kernels and services hand out a buffer that may be longer than the
 * quote: what lies after its declared end is cut off, nothing signs it. Throws TeeError ERR_TEE_MALFORMED.
 */
export function quotePiece(
  buffer: Uint8Array,
  tee: 'sgx' | 'tdx',
  binding: Uint8Array,
  eventLog?: Uint8Array,
): EvidencePiece {
  const { quote, reportData } = cutQuote(buffer, tee)
  requireBound(reportData, binding, `the ${tee.toUpperCase()} quote`)
  return { role: 'cpu', format: `${tee}/1`, fields: { quote, ...(eventLog && { eventLog }) } }
}

function cutQuote(buffer: Uint8Array, tee: 'sgx' | 'tdx'): { quote: Uint8Array; reportData: Uint8Array } {
  try {
    const reader = new ByteReader(buffer)
    const version = reader.uint16le('quote version')
    reader.take(2, 'attestation key type')
    const teeType = reader.uint32le('TEE type')
    reader.take(40, 'quote header')
    if (teeType !== teeTypes[tee]) throw new FormatError('TEE type', `is ${teeType}, expected ${teeTypes[tee]}`)
    const type = version === 5 ? reader.uint16le('body type') : version === 3 ? 1 : version === 4 ? quoteV4Body(tee) : 0
    const body = bodies[type]
    if (body === undefined || body.tee !== tee) throw new FormatError('quote', `is of version ${version}, type ${type}`)
    if (version === 5 && reader.uint32le('body size') !== body.length)
      throw new FormatError('body size', 'is not its type’s')
    const reportData = reader.take(body.length, 'quote body').subarray(body.data, body.data + 64)
    reader.take(reader.uint32le('signature data length'), 'signature data')
    return { quote: buffer.slice(0, reader.offset), reportData }
  } catch (cause) {
    if (cause instanceof TeeError) throw cause
    throw malformed(`the ${tee.toUpperCase()} quote`, cause)
  }
}

function quoteV4Body(tee: 'sgx' | 'tdx'): number {
  return tee === 'tdx' ? 2 : 1
}
