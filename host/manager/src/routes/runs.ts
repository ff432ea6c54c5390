import type { Selectable } from 'kysely'
import { z } from 'zod'
import type { RunsTable } from '../database/tables.ts'
import { ManagerError } from '../error.ts'
import type { App, Manager } from '../http/app.ts'
import { type Caller, organisationsOf } from '../http/authentication.ts'
import { type EventSource, sendEvents } from '../http/event-stream.ts'
import { digestParam, limitQuery, passedOn, positionQuery, refusals, runAnswer, runParam } from '../http/schemas.ts'
import { eventsAfter, eventsKey, type RunEvent } from '../queue/events.ts'
import { waitingOf } from '../queue/waiting.ts'

// Without what is large: bundle and outputs are read where they are asked for.
const shownColumns = [
  ...(['contract', 'run', 'position', 'attempt', 'status', 'phase', 'created_at', 'updated_at'] as const),
  ...(['error', 'receipt', 'decisions', 'boundary', 'isolation', 'tees'] as const),
] as const
type ShownRun = Pick<Selectable<RunsTable>, (typeof shownColumns)[number]>

const runParams = z.object({ contract: digestParam, run: runParam })

export function runRoutes(app: App, manager: Manager): void {
  const { queue, config, bearings } = manager
  const { tables } = manager.database

  app.post(
    '/v1/contracts/:digest/runs',
    {
      config: { access: 'account' },
      schema: {
        summary: 'Queues runs; for the contract’s author account',
        params: z.object({ digest: digestParam }),
        body: z.strictObject({
          count: z.int().min(1).max(100).default(1),
          /** Among the runs that the contract's organisation has waiting; higher ones first. */
          priority: z.int().min(0).max(9).default(0),
        }),
        response: { 201: z.object({ runs: z.array(runAnswer) }), ...refusals },
      },
    },
    async (request, reply) => {
      const { digest } = request.params
      const bearing = await bearings.on(digest, organisationsOf(request.caller))
      const { contract, organisations, owners } = bearing
      if (accountOf(request.caller) !== contract.signer) {
        throw new ManagerError('ERR_NOT_ALLOWED', 'runs are started by the account that signed the contract')
      }
      if (bearing.rows.some(({ subject }) => subject === digest)) {
        throw new ManagerError('ERR_CONTRACT_UNSOUND', 'the contract was revoked')
      }
      await bearings.requireSound(bearing)
      const [step] = contract.steps
      if (step === undefined) throw new ManagerError('ERR_CONTRACT_UNSOUND', 'the contract has no step')
      const runs = await queue.enqueue({
        contract: digest,
        count: request.body.count,
        runsMax: contract.runs,
        attemptsMax: step.attempts,
        boundary: step.boundary,
        isolation: contract.isolation,
        organisation: contract.organisation,
        priority: request.body.priority,
        organisations,
        owners,
        queuedRunsMax: config.limits.queuedRunsMax,
        traceparent: manager.traces?.traceparentOf(request) ?? null,
      })
      return reply.code(201).send({ runs: runs.map(show) })
    },
  )

  app.get(
    '/v1/runs',
    {
      config: { access: 'account' },
      schema: {
        summary: 'Runs of contracts that name an organisation of the account, newest first',
        querystring: z.strictObject({
          contract: digestParam.optional(),
          before: positionQuery,
          limit: limitQuery,
        }),
        response: { 200: z.object({ runs: z.array(runAnswer), next: z.int().optional() }), ...refusals },
      },
    },
    async (request) => {
      const { contract, before, limit } = request.query
      let query = tables
        .selectFrom('runs')
        .select(shownColumns)
        .where('contract', 'in', (inner) =>
          inner
            .selectFrom('participants')
            .select('participants.contract')
            .where('participants.organisation', 'in', organisationsOf(request.caller)),
        )
      if (contract !== undefined) query = query.where('contract', '=', contract)
      if (before !== undefined) query = query.where('position', '<', before)
      const rows = await query
        .orderBy('position', 'desc')
        .limit(limit + 1)
        .execute()
      const page = rows.slice(0, limit)
      const last = page.at(-1)
      return { runs: page.map(show), ...(rows.length > limit && last !== undefined ? { next: last.position } : {}) }
    },
  )

  app.get(
    '/v1/runs/:contract/:run',
    {
      config: { access: 'account' },
      schema: { params: runParams, response: { 200: runAnswer, ...refusals } },
    },
    async (request) => {
      const run = await own(request.caller, request.params)
      if (run.status !== 'queued') return show(run)
      return { ...show(run), waiting: await waitingOf(tables, run) }
    },
  )

  app.post(
    '/v1/runs/:contract/:run/cancel',
    {
      config: { access: 'account' },
      schema: { params: runParams, response: { 200: runAnswer.pick({ status: true }), ...refusals } },
    },
    async (request) => {
      const { contract, run } = request.params
      await own(request.caller, request.params)
      const document = await tables
        .selectFrom('documents')
        .select(['signer', 'organisation'])
        .where('digest', '=', contract)
        .executeTakeFirstOrThrow()
      if (!organisationsOf(request.caller).includes(document.organisation)) {
        throw new ManagerError(
          'ERR_NOT_ALLOWED',
          'a run is cancelled by an account of the organisation that started it',
        )
      }
      return { status: await queue.cancel(contract, run) }
    },
  )

  app.get(
    '/v1/runs/:contract/:run/events',
    {
      config: { access: 'account' },
      schema: {
        summary: 'Server-sent events; Last-Event-ID resumes',
        params: runParams,
        response: { 200: passedOn, ...refusals },
      },
    },
    async (request, reply) => {
      const { contract, run } = await own(request.caller, request.params)
      const source: EventSource = {
        channel: 'cella_events',
        about: new Set([eventsKey(contract, run)]),
        read: async (after, limit) => {
          const events = await eventsAfter(tables, { contract, run, sequence: Math.min(after, sequenceMax), limit })
          const shown = events.map(showEvent)
          const last = shown.at(-1)
          // How it ended comes along, which everyone who hears that it did asks next.
          if (last?.isLast) last.data.run = show(await own(request.caller, request.params))
          return shown
        },
      }
      await sendEvents(manager, source, request, reply)
    },
  )

  app.get(
    '/v1/runs/:contract/:run/receipt',
    { config: { access: 'account' }, schema: { params: runParams, response: { 200: passedOn, ...refusals } } },
    async (request, reply) => {
      const { bundle } = await kept(await own(request.caller, request.params))
      if (bundle === null) throw new ManagerError('ERR_NOT_FOUND', 'the run has no receipt')
      return reply.type('application/json').serializer(String).send(bundle)
    },
  )

  app.get(
    '/v1/runs/:contract/:run/outputs',
    { config: { access: 'account' }, schema: { params: runParams, response: { 200: passedOn, ...refusals } } },
    async (request, reply) => {
      const run = await own(request.caller, request.params)
      const { outputs } = await kept(run)
      if (run.status !== 'finished') throw new ManagerError('ERR_NOT_FOUND', 'the run has no outputs')
      if (outputs === null) {
        throw new ManagerError(
          'ERR_NOT_FOUND',
          'the outputs of the run were removed, as this manager’s retention says',
          {
            hint: 'its receipt is still here; for its outputs, run the contract again',
          },
        )
      }
      return reply.type('application/json').serializer(JSON.stringify).send({ outputs })
    },
  )

  async function own(caller: Caller, at: { contract: string; run: number }): Promise<ShownRun> {
    const row = await tables
      .selectFrom('runs')
      .innerJoin('participants', 'participants.contract', 'runs.contract')
      .select(shownColumns.map((column) => `runs.${column}` as const))
      .where('runs.contract', '=', at.contract)
      .where('run', '=', at.run)
      .where('participants.organisation', 'in', organisationsOf(caller))
      .executeTakeFirst()
    // The same answer for a run that is not there and for one of others.
    if (row === undefined)
      throw new ManagerError('ERR_NOT_FOUND', `no run ${at.run} of contract ${at.contract} of yours`)
    return row
  }

  function kept({ contract, run }: ShownRun): Promise<Pick<Selectable<RunsTable>, 'bundle' | 'outputs'>> {
    return tables
      .selectFrom('runs')
      .select(['bundle', 'outputs'])
      .where('contract', '=', contract)
      .where('run', '=', run)
      .executeTakeFirstOrThrow()
  }
}

/** A run as clients see it. Times in seconds. */
function show(run: ShownRun): z.output<typeof runAnswer> {
  return {
    contract: run.contract,
    run: run.run,
    attempt: run.attempt,
    status: run.status,
    phase: run.phase,
    createdAt: Math.floor(run.created_at.getTime() / 1000),
    updatedAt: Math.floor(run.updated_at.getTime() / 1000),
    ...(run.error === null
      ? {}
      : { error: { code: run.error.code, ...(run.error.reasons && { reasons: [...run.error.reasons] }) } }),
    ...(run.receipt === null ? {} : { receipt: run.receipt }),
    ...(run.decisions === null ? {} : { decisions: [...run.decisions] }),
  }
}

/** Of PostgreSQL's integer, which a follower's own number may exceed. */
const sequenceMax = 2 ** 31 - 1

function showEvent(event: RunEvent): { id: number; data: Record<string, unknown>; isLast: boolean } {
  const { attempt, phase, detail } = event
  const data = { at: event.at.getTime() / 1000, attempt, phase, ...(detail === null ? {} : { detail }) }
  return { id: event.sequence, data, isLast: phase === 'finished' }
}

function accountOf(caller: Caller): string | undefined {
  return caller.kind === 'account' ? caller.account : undefined
}
