import type { IncomingMessage, ServerResponse } from 'node:http'
import type { BlobStore } from '@cella/blobs'
import swagger from '@fastify/swagger'
import Fastify, { type FastifyBaseLogger, type FastifyInstance, LogController, type RawServerDefault } from 'fastify'
import {
  createJsonSchemaTransform,
  serializerCompiler,
  validatorCompiler,
  type ZodTypeProvider,
} from 'fastify-type-provider-zod'
import type { Config } from '../config.ts'
import type { Database } from '../database/database.ts'
import type { Bearings } from '../documents/bearings.ts'
import type { LogClient } from '../log-client.ts'
import type { Brokers } from '../queue/brokers.ts'
import type { WorkerChallenges } from '../queue/challenges.ts'
import type { RunQueue } from '../queue/queue.ts'
import type { WorkerRegister } from '../queue/worker-register.ts'
import { attestRoutes } from '../routes/attest.ts'
import { blobRoutes } from '../routes/blobs.ts'
import { bodyRoutes } from '../routes/bodies.ts'
import { brokerRoutes } from '../routes/broker.ts'
import { challengeRoutes } from '../routes/challenges.ts'
import { documentRoutes } from '../routes/documents.ts'
import { healthRoutes } from '../routes/health.ts'
import { inboxRoutes } from '../routes/inbox.ts'
import { joinRoutes } from '../routes/joins.ts'
import { kbsRoutes } from '../routes/kbs.ts'
import { logRoutes } from '../routes/log.ts'
import { runRoutes } from '../routes/runs.ts'
import { secretRoutes } from '../routes/secrets.ts'
import { vaultRoutes } from '../routes/vaults.ts'
import { workerRoutes } from '../routes/worker.ts'
import type { Traces } from '../traces/traces.ts'
import { authenticate } from './authentication.ts'
import { sendError } from './errors.ts'
import type { Metrics } from './metrics.ts'
import { RateLimit } from './rate-limit.ts'

/** What the routes work with. */
export interface Manager {
  readonly config: Config
  readonly database: Database
  readonly blobs: BlobStore
  readonly log: LogClient
  readonly queue: RunQueue
  readonly challenges: WorkerChallenges
  readonly workers: WorkerRegister
  readonly brokers: Brokers
  readonly logger: FastifyBaseLogger
  readonly metrics: Metrics
  readonly bearings: Bearings
  /** Absent where no collector is configured. */
  readonly traces: Traces | undefined
  readonly release: string
  /** Aborts when the process is asked to stop: who waits gives up, who works goes on. */
  readonly stopping: AbortSignal
}

export type App = FastifyInstance<RawServerDefault, IncomingMessage, ServerResponse, FastifyBaseLogger, ZodTypeProvider>

/** Bodies are JSON of at most so many bytes unless a route says otherwise; checked before a byte is parsed. */
const jsonBytesMax = 64 * 1024

/** The HTTP application, not listening yet. */
export async function createApp(manager: Manager): Promise<App> {
  const { tables } = manager.database
  const app: App = Fastify({
    loggerInstance: manager.logger,
    // Requests are logged below, by what can't hold a secret.
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: jsonBytesMax,
    requestTimeout: 120_000,
    keepAliveTimeout: 70_000,
    forceCloseConnections: 'idle',
    exposeHeadRoutes: false,
    routerOptions: { maxParamLength: 300 },
    // Ours, so that no caller chooses what stands in the log.
    requestIdHeader: false,
    frameworkErrors: (error, request, reply) => sendError(error, request, reply),
  }).withTypeProvider<ZodTypeProvider>()
  // Each may hold a body of some megabytes; event streams are bounded well below.
  app.server.maxConnections = 512
  app.setValidatorCompiler(validatorCompiler)
  app.setSerializerCompiler(serializerCompiler)
  app.setErrorHandler(sendError)
  app.setNotFoundHandler({}, (request, reply) => sendError({ statusCode: 404 }, request, reply))
  // Who waited for something is answered as it stops, on a connection that must not stay.
  app.addHook('onSend', async (_request, reply) => {
    if (manager.stopping.aborted) reply.header('connection', 'close')
  })
  readBodies(app)
  recordRequests(app, manager.metrics)
  authenticate(app, {
    tables,
    workerToken: manager.config.workerToken,
    now: () => Math.floor(Date.now() / 1000),
    limit: new RateLimit(manager.config.limits.organisationRequestsPerMinute, 'your organisation'),
  })
  manager.traces?.follow(app)
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'Cella manager', version: manager.release, description: 'docs/protocol.md says what it is for.' },
      components: {
        securitySchemes: {
          account: {
            type: 'apiKey',
            in: 'header',
            name: 'authorization',
            description: 'Cella <token for this request>',
          },
          worker: { type: 'http', scheme: 'bearer' },
        },
      },
    },
    transform: createJsonSchemaTransform({ skipList: ['/openapi.json'] }),
  })
  for (const routes of [
    healthRoutes,
    documentRoutes,
    blobRoutes,
    bodyRoutes,
    runRoutes,
    workerRoutes,
    logRoutes,
    vaultRoutes,
    challengeRoutes,
    brokerRoutes,
    attestRoutes,
    secretRoutes,
    joinRoutes,
    kbsRoutes,
    inboxRoutes,
  ]) {
    await app.register(async (scope) => routes(scope.withTypeProvider<ZodTypeProvider>(), manager))
  }
  app.get('/openapi.json', { config: { access: 'anyone' } }, () => app.swagger())
  await app.ready()
  return app
}

/** Keeps the bytes, which tokens are bound to, and parses JSON strictly enough: no __proto__, no other type of body. */
function readBodies(app: App): void {
  app.removeAllContentTypeParsers()
  const parseJson = app.getDefaultJsonParser('error', 'error')
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    request.rawBody = body as Buffer
    if (body.length === 0) {
      done(null, {})
      return
    }
    void parseJson(request, body.toString(), done)
  })
  app.addContentTypeParser('application/octet-stream', { parseAs: 'buffer' }, (request, body, done) => {
    request.rawBody = body as Buffer
    done(null, body)
  })
}

function recordRequests(app: App, metrics: Metrics): void {
  app.addHook('onResponse', async (request, reply) => {
    const route = request.routeOptions.url ?? 'unknown'
    const { method } = request
    const status = reply.statusCode
    metrics.requests.inc({ method, route, status })
    metrics.seconds.observe({ method, route }, reply.elapsedTime / 1000)
    request.log.info(
      { method, route, status, ms: Math.round(reply.elapsedTime), caller: request.caller?.kind },
      'request',
    )
  })
}
