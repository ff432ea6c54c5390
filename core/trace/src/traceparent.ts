import { encodeHex } from '@cella/bytes'
import { randomBytes } from '@cella/primitives'

// https://www.w3.org/TR/trace-context/#traceparent-header, version 00, 55 characters:
//   00-<trace id, 32 hex digits>-<span id, 16>-<flags, 2>      lower case; ids are not all zero

/** Where a span hangs. */
export interface TraceContext {
  /** 32 lower-case hex digits. */
  readonly traceId: string
  /** 16 lower-case hex digits. */
  readonly spanId: string
  readonly sampled: boolean
}

/** Undefined for whatever is not exactly one header of version 00. */
export function parseTraceparent(text: string): TraceContext | undefined {
  if (text.length !== 55) return undefined
  const [, traceId, spanId, flags] = /^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/.exec(text) ?? []
  if (traceId === undefined || spanId === undefined || flags === undefined) return undefined
  if (/^0+$/.test(traceId) || /^0+$/.test(spanId)) return undefined
  return { traceId, spanId, sampled: (Number.parseInt(flags, 16) & 1) === 1 }
}

export function encodeTraceparent({ traceId, spanId, sampled }: TraceContext): string {
  return `00-${traceId}-${spanId}-${sampled ? '01' : '00'}`
}

/** The first span of a new trace, at random. */
export function newTrace(): TraceContext {
  return { traceId: encodeHex(randomBytes(16)), spanId: newSpanId(), sampled: true }
}

export function newSpanId(): string {
  return encodeHex(randomBytes(8))
}
