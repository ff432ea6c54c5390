import { canonicalJson } from '@cella/bytes'
import { bytesField, digestField, documentBytesMax, parseDocumentOf } from '@cella/documents'
import { LogError, parseProofFile } from '@cella/log'
import { z } from 'zod'
import { ManagerError } from '../error.ts'
import type { App, Manager } from '../http/app.ts'
import { traceOf } from '../http/errors.ts'
import { passedOn, refusals } from '../http/schemas.ts'
import type { Offer } from '../queue/queue.ts'

// The queue's side for workers. Nothing here is believed: what a worker hands in is kept for those who verify it.

const draftBytesMax = 4 * 2 ** 20
const outcomeBytesMax = 16 * 2 ** 20
const leaseParams = z.object({ lease: z.coerce.number().int().min(1).max(Number.MAX_SAFE_INTEGER) })
const phaseField = z.string().regex(/^[a-z][a-z0-9-]{0,39}$/)
const codeField = z.string().regex(/^ERR_[A-Z0-9_]{1,60}$/)
const wrapped = z.string().regex(/^[A-Za-z0-9_-]{1,4096}$/)

const workerField = z.string().min(1).max(200)
const pollBody = z.union([
  z.strictObject({
    worker: workerField,
    key: bytesField({ exactly: 32 }),
    poll: z.int().min(1).max(Number.MAX_SAFE_INTEGER),
    signature: bytesField({ exactly: 64 }),
  }),
  // Of a worker built before poll keys. What it says of itself is passed over: its evidence says it.
  z.strictObject({ worker: workerField, tee: z.unknown(), boundary: z.unknown(), isolation: z.unknown() }),
])

const outputs = z
  .array(
    z.strictObject({
      name: z.string().min(1).max(100),
      blob: digestField,
      outboard: digestField,
      keys: z.array(z.strictObject({ membership: digestField, wrapped })).max(64),
    }),
  )
  .max(64)
/** Read as far as the manager needs it; the rest is for who verifies it. */
const bundleField = z.looseObject({ format: z.literal('cella-receipt/1') })
const error = z.strictObject({ code: codeField, reasons: z.array(z.unknown()).max(256).optional() })
const decisions = z.array(z.string().max(documentBytesMax)).max(128).optional()
const ok = z.object({ status: z.literal('ok') })

export function workerRoutes(app: App, manager: Manager): void {
  const { queue, workers, config, bearings } = manager

  app.post(
    '/v1/worker/poll',
    {
      config: { access: 'worker' },
      schema: {
        summary: 'Waits for a run that fits; 204 when none came',
        body: pollBody,
        response: {
          200: z.object({
            contract: z.string(),
            run: z.int(),
            attempt: z.int(),
            lease: z.int(),
            leaseSeconds: z.int(),
            documents: z.array(z.string()),
            locations: z.record(z.string(), z.object({ sealed: z.string(), outboard: z.string() })),
            vaults: z.array(z.string()),
          }),
          204: z.null(),
          ...refusals,
        },
      },
    },
    async (request, reply) => {
      const gone = new AbortController()
      let offer: Offer | undefined
      const giveBack = (): void => {
        if (offer === undefined) return
        queue.giveBack(offer).catch((error: unknown) => request.log.error(traceOf(error), 'an offer was lost'))
      }
      reply.raw.once('close', () => {
        gone.abort()
        if (!reply.raw.writableFinished) giveBack()
      })
      const signal = AbortSignal.any([manager.stopping, gone.signal])
      const worker = await workers.admit(request.body, signal)
      offer = await queue.poll(worker, config.limits.pollSeconds * 1000, signal)
      if (offer === undefined) return reply.code(204).send(null)
      try {
        const bearing = await bearings.on(offer.contract)
        // Closed before there was an offer: the handler above had nothing to give back.
        if (gone.signal.aborted) giveBack()
        return reply.code(200).send({
          ...offer,
          leaseSeconds: config.limits.leaseSeconds,
          documents: [...bearing.envelopes],
          locations: { ...bearing.locations },
          vaults: [...bearing.contract.vaults],
        })
      } catch (error) {
        giveBack()
        throw error
      }
    },
  )

  app.post(
    '/v1/worker/leases/:lease/renew',
    {
      config: { access: 'worker' },
      schema: { params: leaseParams, body: z.strictObject({ phase: phaseField }), response: { 200: ok, ...refusals } },
    },
    async (request) => {
      await queue.renew(request.params.lease, request.body.phase)
      return { status: 'ok' as const }
    },
  )

  app.post(
    '/v1/worker/leases/:lease/receipt',
    {
      bodyLimit: draftBytesMax,
      config: { access: 'worker' },
      schema: {
        summary: 'Keeps a draft before its receipt is logged',
        params: leaseParams,
        body: z.strictObject({ draft: z.record(z.string(), z.unknown()) }),
        response: { 200: ok, ...refusals },
      },
    },
    async (request) => {
      await queue.store(request.params.lease, canonicalJson(request.body.draft))
      return { status: 'ok' as const }
    },
  )

  app.get(
    '/v1/worker/leases/:lease/receipts',
    {
      config: { access: 'worker' },
      schema: {
        summary: 'Drafts of all attempts at the same run, oldest first: one of them may be in the log',
        params: leaseParams,
        response: { 200: passedOn, ...refusals },
      },
    },
    async (request, reply) => {
      const drafts = await queue.drafts(request.params.lease)
      return reply
        .type('application/json')
        .serializer(String)
        .send(`{"drafts":[${drafts.join(',')}]}`)
    },
  )

  app.post(
    '/v1/worker/leases/:lease/outcome',
    {
      bodyLimit: outcomeBytesMax,
      config: { access: 'worker' },
      schema: {
        summary: 'Ends the run; a failed one is tried again while the contract’s attempts allow it',
        params: leaseParams,
        body: z.discriminatedUnion('status', [
          z.strictObject({ status: z.literal('finished'), bundle: bundleField, outputs }),
          z.strictObject({ status: z.literal('refused'), error, decisions }),
          z.strictObject({ status: z.literal('failed'), error, decisions }),
        ]),
        response: { 200: ok, ...refusals },
      },
    },
    async (request) => {
      const { body } = request
      if (body.status === 'finished') {
        const { bundle, outputs } = body
        await queue.finish(request.params.lease, {
          status: 'finished',
          ...placeOf(bundle),
          bundle: canonicalJson(bundle),
          outputs,
        })
      } else {
        const { status, error, decisions } = body
        const { code, reasons } = error
        await queue.finish(request.params.lease, { status, error: { code, ...(reasons && { reasons }) }, decisions })
      }
      return { status: 'ok' as const }
    },
  )
}

const receiptInBundle = z.object({
  receipt: z.object({ document: z.string().max(300_000), proof: z.string().max(100_000) }),
})

/** Digest of a bundle's receipt and where its proof says it is in the log. Throws ERR_REQUEST_MALFORMED. */
function placeOf(bundle: unknown): { receipt: string; receiptIndex: number } {
  const parsed = receiptInBundle.safeParse(bundle)
  if (!parsed.success) throw new ManagerError('ERR_REQUEST_MALFORMED', 'the bundle has no receipt with a proof')
  const { document, proof } = parsed.data.receipt
  try {
    return {
      receipt: parseDocumentOf('cella/receipt', document).digest,
      receiptIndex: parseProofFile(Buffer.from(proof)).index,
    }
  } catch (cause) {
    if (cause instanceof LogError)
      throw new ManagerError('ERR_REQUEST_MALFORMED', 'the receipt’s proof can’t be read', { cause })
    throw cause
  }
}
