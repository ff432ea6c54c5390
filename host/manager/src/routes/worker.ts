import { canonicalJson } from '@cella/bytes'
import { boundaryField, digestField, parseDocumentOf } from '@cella/documents'
import { LogError, parseProofFile } from '@cella/log'
import { z } from 'zod'
import { bearingOn } from '../documents/bearing.ts'
import { ManagerError } from '../error.ts'
import type { App, Manager } from '../http/app.ts'
import { passedOn, refusals } from '../http/schemas.ts'

// The queue's side for workers. Nothing here is believed: what a worker hands in is kept for those who verify it.

const outcomeBytesMax = 16 * 2 ** 20
const leaseParams = z.object({ lease: z.coerce.number().int().min(1).max(Number.MAX_SAFE_INTEGER) })
const phaseField = z.string().regex(/^[a-z][a-z0-9-]{0,39}$/)
const codeField = z.string().regex(/^ERR_[A-Z0-9_]{1,60}$/)
const wrapped = z.string().regex(/^[A-Za-z0-9_-]{1,4096}$/)

const outputs = z
  .array(
    z.strictObject({
      name: z.string().max(100),
      blob: digestField,
      outboard: digestField,
      keys: z.array(z.strictObject({ membership: digestField, wrapped })).max(64),
    }),
  )
  .max(64)
/** Read as far as the manager needs it; the rest is for who verifies it. */
const bundleField = z.looseObject({ format: z.literal('cella-receipt/1') })
const ok = z.object({ status: z.literal('ok') })

export function workerRoutes(app: App, manager: Manager): void {
  const { queue, config } = manager
  const { tables } = manager.database

  app.post(
    '/v1/worker/poll',
    {
      config: { access: 'worker' },
      schema: {
        summary: 'Waits for a run that fits; 204 when none came',
        body: z.strictObject({
          worker: z.string().min(1).max(200),
          tee: z.string().min(1).max(60),
          boundary: boundaryField,
          isolation: z.int().min(1).max(3),
        }),
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
      const { worker, boundary, isolation } = request.body
      const gone = new AbortController()
      reply.raw.once('close', () => gone.abort())
      const offer = await queue.poll(
        { name: worker, boundary, isolation },
        config.limits.pollSeconds * 1000,
        AbortSignal.any([manager.stopping, gone.signal]),
      )
      if (offer === undefined) return reply.code(204).send(null)
      const bearing = await bearingOn(tables, offer.contract)
      return reply.code(200).send({
        ...offer,
        leaseSeconds: config.limits.leaseSeconds,
        documents: [...bearing.envelopes],
        locations: { ...bearing.locations },
        vaults: [...bearing.contract.vaults],
      })
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
      bodyLimit: outcomeBytesMax,
      config: { access: 'worker' },
      schema: {
        summary: 'Keeps an outcome before its receipt is logged',
        params: leaseParams,
        body: z.strictObject({ receipt: z.string().max(300_000), bundle: bundleField, outputs }),
        response: { 200: ok, ...refusals },
      },
    },
    async (request) => {
      const { receipt, bundle, outputs } = request.body
      parseDocumentOf('cella/receipt', receipt)
      await queue.store(request.params.lease, { receipt, bundle: canonicalJson(bundle), outputs })
      return { status: 'ok' as const }
    },
  )

  app.get(
    '/v1/worker/leases/:lease/earlier',
    {
      config: { access: 'worker' },
      schema: {
        summary: 'Outcomes that earlier attempts of the same run stored: one of them may be the one in the log',
        params: leaseParams,
        response: { 200: passedOn, ...refusals },
      },
    },
    async (request, reply) => {
      const outcomes = (await queue.earlier(request.params.lease)).map((outcome) => ({
        ...outcome,
        bundle: JSON.parse(outcome.bundle) as object,
      }))
      return reply.type('application/json').serializer(JSON.stringify).send({ outcomes })
    },
  )

  app.post(
    '/v1/worker/leases/:lease/outcome',
    {
      bodyLimit: outcomeBytesMax,
      config: { access: 'worker' },
      schema: {
        summary: 'Ends the run',
        params: leaseParams,
        body: z.strictObject({
          status: z.enum(['finished', 'refused', 'failed']),
          error: z.strictObject({ code: codeField, reasons: z.array(z.unknown()).max(256).optional() }).optional(),
          bundle: bundleField.optional(),
          outputs: outputs.optional(),
        }),
        response: { 200: ok, ...refusals },
      },
    },
    async (request) => {
      const { status, error, bundle, outputs } = request.body
      const { lease } = request.params
      if (status !== 'finished') {
        const { code, reasons } = error ?? { code: 'ERR_RUN_FAILED', reasons: undefined }
        await queue.finish(lease, { status, error: { code, ...(reasons && { reasons }) } })
        return { status: 'ok' as const }
      }
      if (bundle === undefined) throw new ManagerError('ERR_REQUEST_MALFORMED', 'a finished run has a bundle')
      await queue.finish(lease, {
        status,
        ...placeOf(bundle),
        outcome: { bundle: canonicalJson(bundle), outputs: outputs ?? [] },
      })
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
