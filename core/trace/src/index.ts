export { encodeSpans, type Service, type Span } from './span.ts'
export { encodeTraceparent, newSpanId, newTrace, parseTraceparent, type TraceContext } from './traceparent.ts'
