import { SdkError } from '../error.ts'
import { eventSchema, type RunEvent } from './answers.ts'
import type { Transport } from './transport.ts'

const lineCharactersMax = 1_048_576
const emptyConnectionsMax = 8

/**
 * Reads `text/event-stream` (WHATWG HTML §9.2) and connects again with `Last-Event-ID` where it breaks off. Each event
 * comes once, in order. Ends after an event whose phase is `finished`, or when the manager ends a run for good.
 */
export async function* followEvents(
  transport: Transport,
  path: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<RunEvent> {
  let last: string | undefined
  let empty = 0
  while (empty < emptyConnectionsMax) {
    const response = await transport.send({
      method: 'GET',
      path,
      idempotent: true,
      stream: true,
      signal,
      headers: { accept: 'text/event-stream', ...(last === undefined ? {} : { 'last-event-id': last }) },
    })
    let any = false
    try {
      for await (const event of parseEvents(response)) {
        if (last !== undefined && Number(event.id) <= Number(last)) continue
        last = event.id
        any = true
        yield event
        if (event.phase === 'finished') return
      }
    } catch (error) {
      if (signal?.aborted || (error instanceof SdkError && error.code === 'ERR_MANAGER_ANSWER')) throw error
      // A broken connection: the next one resumes after `last`.
    }
    empty = any ? 0 : empty + 1
  }
  throw new SdkError('ERR_MANAGER_UNAVAILABLE', 'the events of the run break off again and again')
}

async function* parseEvents(response: Response): AsyncGenerator<RunEvent> {
  let id: string | undefined
  let data: string[] = []
  for await (const line of readLines(response)) {
    if (line === '') {
      if (data.length > 0) yield parseEvent(id, data.join('\n'))
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

function parseEvent(id: string | undefined, data: string): RunEvent {
  if (id === undefined || !/^\d{1,15}$/.test(id)) throw malformed('has no number')
  let json: unknown
  try {
    json = JSON.parse(data)
  } catch {
    throw malformed('is not JSON')
  }
  const parsed = eventSchema.safeParse(json)
  if (!parsed.success) throw malformed('is not in the protocol')
  return { ...parsed.data, id }
}

function malformed(problem: string): SdkError {
  return new SdkError('ERR_MANAGER_ANSWER', `an event of the run ${problem}`)
}
