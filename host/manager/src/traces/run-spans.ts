import { newSpanId, parseTraceparent, type Service, type Span } from '@cella/trace'
import type { RunEvent } from '../queue/events.ts'

/** Who is at work in each phase. Enclaves make no spans: these are of the times at which the queue heard of a phase. */
const services: Readonly<Record<string, Service>> = {
  queued: 'cella-manager',
  offered: 'cella-manager',
  decide: 'cella-vault',
  release: 'cella-vault',
  inputs: 'cella-worker',
  run: 'cella-worker',
  receipt: 'cella-worker',
  'hand-over': 'cella-worker',
}

/** A run that ended, and each of its phases, below the request that queued it. */
export function runSpans(traceparent: string, status: string, events: readonly RunEvent[]): Span[] {
  const parent = parseTraceparent(traceparent)
  const [first, last] = [events[0], events.at(-1)]
  if (parent === undefined || first === undefined || last === undefined) return []
  const { traceId } = parent
  const spanId = newSpanId()
  const whole: Span = {
    service: 'cella-manager',
    traceId,
    spanId,
    parentSpanId: parent.spanId,
    name: 'run',
    kind: 'internal',
    start: first.at.getTime(),
    end: last.at.getTime(),
    failed: status !== 'finished',
  }
  const phases = events.slice(0, -1).flatMap(({ phase, at, attempt }, index): Span[] => {
    const next = events[index + 1]
    if (next === undefined || phase === 'failed' || phase === 'lost') return []
    const isKnown = Object.hasOwn(services, phase)
    return [
      {
        service: isKnown ? services[phase]! : 'cella-worker',
        traceId,
        spanId: newSpanId(),
        parentSpanId: spanId,
        // A worker may call a phase what it likes.
        name: isKnown ? `run: ${phase}` : 'run: other',
        kind: 'internal',
        start: at.getTime(),
        end: next.at.getTime(),
        failed: next.phase === 'failed' || next.phase === 'lost',
        attempt,
      },
    ]
  })
  return [whole, ...phases]
}
