import type { z } from 'zod'
import { SdkError } from '../error.ts'
import type { Transport } from './transport.ts'

const lineCharactersMax = 1_048_576
const emptyConnectionsMax = 8
const quietMs = 10_000

export interface EventStream<Event> {
  readonly path: string
  readonly schema: z.ZodType<Event>
  /** Id of the last event that is known. */
  readonly after: number
  /** Whether the stream ends with this one. */
  readonly isLast: (event: Event) => boolean
  readonly signal: AbortSignal | undefined
}

/**
 * Reads `text/event-stream` (WHATWG HTML §9.2) and connects again with `Last-Event-ID` where it breaks off. Each event
 * comes once, in order. Ends after the last one, or when the manager ends a run for good.
 */
export async function* followEvents<Event extends object>(
  transport: Transport,
  { path, schema, after, isLast, signal }: EventStream<Event>,
): AsyncGenerator<Event & { readonly id: string }> {
  let last = after
  let empty = 0
  while (empty < emptyConnectionsMax) {
    const response = await transport.send({
      method: 'GET',
      path,
      idempotent: true,
      stream: true,
      signal,
      headers: { accept: 'text/event-stream', ...(last === 0 ? {} : { 'last-event-id': `${last}` }) },
    })
    const connected = performance.now()
    let any = false
    try {
      for await (const { id, data } of parseEvents(response)) {
        if (id <= last) continue
        last = id
        any = true
        const event = parseEvent(schema, data)
        yield { ...event, id: `${id}` }
        if (isLast(event)) return
      }
    } catch (error) {
      if (signal?.aborted || (error instanceof SdkError && error.code === 'ERR_MANAGER_ANSWER')) throw error
      // A broken connection: the next one resumes after `last`.
    }
    // One that was open for a while without news is as good as one with some.
    empty = any || performance.now() - connected > quietMs ? 0 : empty + 1
  }
  throw new SdkError('ERR_MANAGER_UNAVAILABLE', 'the stream of events breaks off again and again')
}

async function* parseEvents(response: Response): AsyncGenerator<{ id: number; data: string }> {
  let id: string | undefined
  let data: string[] = []
  for await (const line of readLines(response)) {
    if (line === '') {
      if (data.length > 0) {
        if (id === undefined || !/^\d{1,15}$/.test(id)) throw malformed('has no number')
        yield { id: Number(id), data: data.join('\n') }
      }
      data = []
      continue
    }
    const [, name, value] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? []
    if (name === 'id') id = value
    if (name === 'data') data.push(value ?? '')
  }
}

async function* readLines(response: Response): AsyncGenerator<string> {
  const decoder = new TextDecoder()
  let rest = ''
  for await (const part of response.body ?? []) {
    rest += decoder.decode(part, { stream: true })
    const lines = rest.split(/\r\n|\n|\r/)
    rest = lines.pop()!
    if (rest.length > lineCharactersMax) throw malformed('has a line without end')
    yield* lines
  }
}

function parseEvent<Event>(schema: z.ZodType<Event>, data: string): Event {
  let json: unknown
  try {
    json = JSON.parse(data)
  } catch {
    throw malformed('is not JSON')
  }
  const parsed = schema.safeParse(json)
  if (!parsed.success) throw malformed('is not in the protocol')
  return parsed.data
}

function malformed(problem: string): SdkError {
  return new SdkError('ERR_MANAGER_ANSWER', `an event ${problem}`)
}
