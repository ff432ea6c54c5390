import type { FastifyReply, FastifyRequest } from 'fastify'
import { ManagerError } from '../error.ts'
import type { Channel } from '../queue/wake.ts'
import type { Manager } from './app.ts'

/** Sent when nothing else was for so long, so that proxies keep the connection. */
const heartbeatMs = 15_000
const eventsAtOnce = 500
let open = 0

/** Events in the order of ids that count up. */
export interface EventSource {
  /** What is notified, and about what, when there are more. */
  readonly channel: Channel
  readonly about: ReadonlySet<string>
  /** The next ones after an id, at most `limit`; none where there are none yet. */
  read(
    after: number,
    limit: number,
  ): Promise<readonly { readonly id: number; readonly data: object; readonly isLast: boolean }[]>
}

/** Sends events from the one after `Last-Event-ID` on, until the last one, the caller left or we stop. */
export async function sendEvents(
  manager: Manager,
  source: EventSource,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<void> {
  const header = request.headers['last-event-id'] ?? '0'
  if (typeof header !== 'string' || !/^\d{1,15}$/.test(header)) {
    throw new ManagerError('ERR_REQUEST_MALFORMED', 'Last-Event-ID is the id of an earlier event')
  }
  if (open >= manager.config.limits.eventStreamsMax) {
    throw new ManagerError('ERR_REQUEST_RATE', `${open} event streams are open already`, {
      hint: 'ask for what you wait for now and then',
    })
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
    await send(manager, source, Number(header), (text) => write(reply, text, signal), signal)
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
  source: EventSource,
  after: number,
  write: (text: string) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  let last = after
  while (!signal.aborted) {
    // Listens before it looks, so that nothing is missed in between.
    const woken = new AbortController()
    const both = AbortSignal.any([signal, woken.signal])
    const wait = manager.queue.wake.wait(source.channel, source.about, heartbeatMs, both)
    try {
      const events = await source.read(last, eventsAtOnce)
      for (const { id, data, isLast } of events) {
        await write(`id: ${id}\ndata: ${JSON.stringify(data)}\n\n`)
        if (isLast) return
        last = id
      }
      // Fewer than were asked for: all there are until the next notification, which is listened for already.
      if (events.length === eventsAtOnce) continue
      const isNew = await wait
      if (!isNew && !signal.aborted) await write(':\n\n')
    } finally {
      woken.abort()
    }
  }
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
