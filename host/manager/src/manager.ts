import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type BlobStore, openFolderStore, openS3Store } from '@cella/blobs'
import { vendorRoots } from '@cella/evidence'
import pino from 'pino'
import type { Config } from './config.ts'
import { openDatabase } from './database/database.ts'
import { Bearings } from './documents/bearings.ts'
import { logPending } from './documents/store.ts'
import { createApp } from './http/app.ts'
import { forgetNonces } from './http/authentication.ts'
import { traceOf } from './http/errors.ts'
import { createMetrics } from './http/metrics.ts'
import { type PublicAddress, type PublicListener, servePublicly } from './http/public.ts'
import { LogClient } from './log-client.ts'
import { LogWatch } from './log-watch.ts'
import { WebhookKey } from './notices/deliver.ts'
import { forgetNotices } from './notices/notices.ts'
import { WebhookDelivery } from './notices/webhooks.ts'
import { Brokers } from './queue/brokers.ts'
import { WorkerChallenges } from './queue/challenges.ts'
import { RunQueue } from './queue/queue.ts'
import { WorkerRegister } from './queue/worker-register.ts'
import { tidy } from './retention.ts'
import { TraceExporter } from './traces/exporter.ts'
import { Traces } from './traces/traces.ts'

export interface RunningManager {
  /** `http://HOST:PORT`, for this machine. */
  readonly url: string
  /** Where others reach it, if anywhere. */
  readonly public: PublicAddress | undefined
  /** Resolves when a database server that was started here ended, whoever ended it: nothing can be served any more. */
  readonly lost: Promise<void>
  /** Takes no new request, lets those at work end, at most `graceMs`, then closes everything. */
  stop(): Promise<void>
}

const graceMs = 15_000
const minute = 60_000
const watchMs = 10_000
const tidyMs = 15 * minute

/** Opens database, blobs and queue, and serves. Whatever was opened before a failure is closed again. */
export async function startManager(
  config: Config,
  options: { readonly databaseUrl?: string | undefined; readonly logTo?: pino.DestinationStream } = {},
): Promise<RunningManager> {
  const logger = pino(
    { level: config.logLevel, base: { service: 'manager' }, timestamp: pino.stdTimeFunctions.isoTime },
    options.logTo ?? pino.destination({ fd: 2, sync: true }),
  )
  const log = new LogClient(config.log)
  const closers: (() => Promise<unknown>)[] = []
  const closeAll = async (): Promise<void> => {
    for (const close of closers.reverse()) {
      // What can't be closed must not keep the next from being.
      await close().catch((error: unknown) => logger.error(traceOf(error), 'closing failed'))
    }
  }
  try {
    const blobs = await openBlobs(config)
    const database = await openDatabase({
      url: config.database?.url ?? options.databaseUrl,
      dataFolder: config.dataFolder,
    })
    closers.push(() => database.close())
    const onError = (error: unknown): void => logger.error(traceOf(error), 'background work failed')
    let traces: Traces | undefined
    const queue = await RunQueue.open(database, {
      leaseSeconds: config.limits.leaseSeconds,
      onError,
      onEnded: ({ contract, run, traceparent }) => {
        if (traceparent !== null) traces?.runEnded(database.tables, { contract, run, traceparent }).catch(onError)
      },
    })
    closers.push(() => queue.close())
    const challenges = new WorkerChallenges(database.tables, queue.wake)
    const delivery = new WebhookDelivery(database.tables, {
      key: new WebhookKey(config.workerToken),
      allowInside: config.webhooks.inside,
      onError,
    })
    closers.push(() => delivery.close())
    const watch = new LogWatch(database.tables, log)
    const metrics = createMetrics({
      tables: database.tables,
      dataFolder: config.dataFolder,
      standing: () => watch.standing,
      certificateEnd: () => listener?.expiresAt,
    })
    if (config.traces !== undefined) {
      const exporter = new TraceExporter(config.traces.endpoint, (outcome, spans) =>
        metrics.spans.inc({ outcome }, spans),
      )
      closers.push(() => exporter.close())
      traces = new Traces(exporter, metrics)
    }
    const stopping = new AbortController()
    const brokers = new Brokers()
    stopping.signal.addEventListener('abort', () => brokers.stop(), { once: true })
    let listener: PublicListener | undefined
    const app = await createApp({
      config,
      database,
      blobs,
      log,
      queue,
      challenges,
      workers: new WorkerRegister({
        tables: database.tables,
        challenges,
        roots: config.workers.roots === 'vendors' ? vendorRoots : config.workers.roots,
        seconds: config.limits.workerEvidenceSeconds,
        onJudged: (worker, refusal) => logger.info({ worker, code: refusal?.code }, 'worker judged'),
      }),
      brokers,
      metrics,
      bearings: new Bearings(database.tables),
      traces,
      logger,
      release: releaseOf(),
      stopping: stopping.signal,
    })
    closers.push(() => app.close())
    const chores = setInterval(() => {
      void Promise.all([
        forgetNonces(database.tables),
        forgetNotices(database.tables, config.retention.noticeDays),
        blobs.expire(new Date()),
        challenges.forget(),
        // What a crash cut off between row and log; new ones are left to their own request.
        logPending(database.tables, log, new Date(Date.now() - minute)),
        listener?.renew(),
      ]).catch(onError)
    }, minute)
    closers.push(async () => clearInterval(chores))
    closers.push(repeat(() => watch.look(), { every: watchMs, onError }))
    closers.push(
      repeat(
        async () => {
          const removed = await tidy(database.tables, blobs, config.retention)
          metrics.removedBlobs.inc(removed.blobs)
          metrics.removedBytes.inc(removed.bytes)
          if (removed.blobs > 0) logger.info(removed, 'orphans removed')
        },
        { every: tidyMs, onError },
      ),
    )
    const url = await app.listen(config.listen)
    listener = config.public && (await servePublicly(app, config.public))
    if (listener !== undefined) closers.push(() => listener.close())
    logger.info({ url, public: listener?.address.url }, 'listening')
    let stopped: Promise<void> | undefined
    const stop = async (): Promise<void> => {
      logger.info('stopping')
      stopping.abort()
      const late = setTimeout(() => {
        app.server.closeAllConnections()
        listener?.closeAllConnections()
      }, graceMs)
      await closeAll()
      clearTimeout(late)
      logger.info('stopped')
    }
    return {
      url,
      public: listener?.address,
      lost: database.server?.exited ?? new Promise(() => {}),
      stop: () => {
        stopped ??= stop()
        return stopped
      },
    }
  } catch (error) {
    await closeAll()
    throw error
  }
}

/** Does `work` now and again, one at a time. What it returns ends it, and waits for the one at work. */
function repeat(
  work: () => Promise<unknown>,
  { every, onError }: { readonly every: number; readonly onError: (error: unknown) => void },
): () => Promise<void> {
  let atWork: Promise<unknown> = Promise.resolve()
  let timer: NodeJS.Timeout | undefined
  let isEnded = false
  const turn = (): void => {
    atWork = work()
      .catch(onError)
      .then(() => {
        if (!isEnded) timer = setTimeout(turn, every)
      })
  }
  turn()
  return async () => {
    isEnded = true
    clearTimeout(timer)
    await atWork
  }
}

function openBlobs(config: Config): Promise<BlobStore> {
  // Many times what one organisation may have open: none of them fills the store for all.
  const limits = { blobBytesMax: config.limits.blobBytesMax, uploadsMax: 4096 }
  if (config.blobs.kind === 'folder') return openFolderStore({ folder: join(config.dataFolder, 'blobs'), limits })
  const { kind: _, ...s3 } = config.blobs
  return openS3Store({ ...s3, limits })
}

function releaseOf(): string {
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
  return String(version)
}
