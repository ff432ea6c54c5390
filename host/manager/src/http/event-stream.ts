import type { FastifyReply, FastifyRequest } from 'fastify'
import { ManagerError } from '../error.ts'
import { eventsAfter, eventsKey, type RunEvent } from '../queue/events.ts'
import type { Manager } from './app.ts'

/** Sent when nothing else was for so long, so that proxies keep the connection. */
const heartbeatMs = 15_000
let open = 0

/** Sends a run's events from the one after `Last-Event-ID` on, until the run ended, the caller left or we stop. */
export async function followRun(
  manager: Manager,
  run: { readonly contract: string; readonly run: number },
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<void> {
  const header = request.headers['last-event-id'] ?? '0'
  if (typeof header !== 'string' || !/^\d{1,9}$/.test(header)) {
    throw new ManagerError('ERR_REQUEST_MALFORMED', 'Last-Event-ID is the id of an event of this run')
  }
  if (open >= manager.config.limits.eventStreamsMax) {
    throw new ManagerError('ERR_REQUEST_RATE', `${open} event streams are open already`, { hint: 'ask the run itself' })
  }
  const left = new AbortController()
  reply.raw.once('close', () => left.abort())
  const signal = AbortSignal.any([left.signal, manager.stopping])
  open += 1
  manager.metrics.openStreams.set(open)
  reply.hijack()
  try {
    reply.raw.writeHead(200, {
      'content-type': 'text/event-stream',
      'cache-control': 'no-store',
      'x-accel-buffering': 'no',
    })
    reply.raw.flushHeaders()
    await send(manager, run, Number(header), (text) => write(reply, text, signal), signal)
  } catch (error) {
    // The head is out: all that is left is to end, and the caller comes again.
    request.log.warn(
      { code: 'ERR_EVENTS', name: error instanceof Error ? error.name : 'unknown' },
      'event stream ended',
    )
  } finally {
    open -= 1
    manager.metrics.openStreams.set(open)
    reply.raw.end()
  }
}

async function send(
  manager: Manager,
  run: { readonly contract: string; readonly run: number },
  after: number,
  write: (text: string) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const key = new Set([eventsKey(run.contract, run.run)])
  let last = after
  while (!signal.aborted) {
    // Listens before it looks, so that nothing is missed in between.
    const woken = new AbortController()
    const wait = manager.queue.wake.wait('cella_events', key, heartbeatMs, AbortSignal.any([signal, woken.signal]))
    let events: readonly RunEvent[]
    try {
      events = await eventsAfter(manager.database.tables, run.contract, run.run, last)
    } catch (error) {
      woken.abort()
      throw error
    }
    for (const event of events) {
      await write(encode(event))
      last = event.sequence
      if (event.phase === 'finished') {
        woken.abort()
        return
      }
    }
    if (events.length > 0) {
      woken.abort()
      continue
    }
    const isNew = await wait
    if (!isNew && !signal.aborted) await write(':\n\n')
  }
}

function encode(event: RunEvent): string {
  const { attempt, phase, detail } = event
  const data = { at: event.at.getTime() / 1000, attempt, phase, ...(detail === null ? {} : { detail }) }
  return `id: ${event.sequence}\ndata: ${JSON.stringify(data)}\n\n`
}

/** Waits for a reader that is slow, and no longer than it stays. */
async function write(reply: FastifyReply, text: string, signal: AbortSignal): Promise<void> {
  if (reply.raw.write(text) || signal.aborted) return
  await new Promise<void>((resolve) => {
    const done = (): void => {
      reply.raw.off('drain', done)
      signal.removeEventListener('abort', done)
      resolve()
    }
    reply.raw.on('drain', done)
    signal.addEventListener('abort', done)
  })
}
