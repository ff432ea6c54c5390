import { type DocumentType, documentBytesMax, documentSchemas, isType } from '@cella/documents'
import { z } from 'zod'
import { bearingOn, requireSound } from '../documents/bearing.ts'
import { find, listDocuments, proofsOf, submitDocument } from '../documents/store.ts'
import { ManagerError } from '../error.ts'
import type { App, Manager } from '../http/app.ts'
import { RateLimit } from '../http/rate-limit.ts'
import {
  afterQuery,
  digestParam,
  digestsQuery,
  leafProof,
  limitQuery,
  locations,
  refusals,
  saltField,
} from '../http/schemas.ts'

const documentTypes = Object.keys(documentSchemas) as [DocumentType, ...DocumentType[]]
// The envelope as a JSON string, which escapes its quotes, beside salt and locations.
const submissionBytesMax = 2 * documentBytesMax + 4096

const submitted = leafProof.extend({ digest: z.string(), revoked: leafProof.optional() })

export function documentRoutes(app: App, manager: Manager): void {
  const { database, log, config } = manager
  const { tables } = database
  const limit = new RateLimit(config.limits.documentsPerMinute)

  app.post(
    '/v1/documents',
    {
      bodyLimit: submissionBytesMax,
      config: { access: 'anyone' },
      // An address that sent too much is not read.
      onRequest: async (request) => {
        if (request.caller.kind === 'nobody') limit.take(request.ip)
      },
      schema: {
        summary: 'Stores a document and logs its leaf; idempotent by digest',
        body: z.strictObject({
          document: z.string().max(documentBytesMax),
          salt: saltField,
          locations: locations.optional(),
        }),
        response: { 200: submitted, 201: submitted, ...refusals },
      },
    },
    async (request, reply) => {
      const { document, salt, locations } = request.body
      const { caller } = request
      const { isNew, ...answer } = await submitDocument(
        tables,
        log,
        {
          envelope: document,
          salt,
          locations,
          mayRelocate: (id) => caller.kind === 'account' && caller.organisations.includes(id),
        },
        async (signed) => {
          if (isType(signed, 'cella/approval')) await requireSound(await bearingOn(tables, signed.payload.contract))
        },
      )
      return reply.code(isNew ? 201 : 200).send(answer)
    },
  )

  app.get(
    '/v1/documents/:digest',
    {
      config: { access: 'anyone' },
      schema: {
        summary: 'A document with a fresh proof',
        params: z.object({ digest: digestParam }),
        response: {
          200: leafProof.extend({ document: z.string(), salt: z.string(), locations: locations.optional() }),
          ...refusals,
        },
      },
    },
    async (request) => {
      const row = await find(tables, request.params.digest)
      if (row === undefined || row.leaf_index === null) {
        throw new ManagerError('ERR_NOT_FOUND', `no document ${request.params.digest} is stored here`)
      }
      const { index, leaf, proof } = await proofsOf(log, { ...row, revoked_index: null })
      return { document: row.envelope, salt: row.salt, index, leaf, proof, ...located(row.locations) }
    },
  )

  app.get(
    '/v1/documents',
    {
      config: { access: 'account-or-worker' },
      schema: {
        summary: 'Documents in order of their index in the log',
        querystring: z.strictObject({
          type: z.enum(documentTypes).optional(),
          digest: digestsQuery,
          organisation: digestsQuery,
          about: digestsQuery,
          after: afterQuery,
          limit: limitQuery,
        }),
        response: {
          200: z.object({
            documents: z.array(
              z.object({
                digest: z.string(),
                document: z.string(),
                salt: z.string(),
                index: z.int(),
                locations: locations.optional(),
              }),
            ),
            next: z.int().optional(),
          }),
          ...refusals,
        },
      },
    },
    async (request) => {
      const { rows, isMore } = await listDocuments(tables, {
        ...request.query,
        digests: request.query.digest,
        organisations: request.query.organisation,
      })
      const documents = rows.map((row) => ({
        digest: row.digest,
        document: row.envelope,
        salt: row.salt,
        index: row.leaf_index ?? 0,
        ...located(row.locations),
      }))
      const last = documents.at(-1)
      return { documents, ...(isMore && last !== undefined ? { next: last.index } : {}) }
    },
  )
}

function located<Value>(found: Value | null): { locations: Value } | object {
  return found === null ? {} : { locations: found }
}
