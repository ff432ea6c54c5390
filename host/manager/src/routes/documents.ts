import { type DocumentType, documentBytesMax, documentSchemas, isType, nameField } from '@cella/documents'
import type { Selectable } from 'kysely'
import { z } from 'zod'
import type { DocumentsTable } from '../database/tables.ts'
import { listAssets } from '../documents/catalogue.ts'
import { findShown, listDocuments, proofsOf, submitDocument } from '../documents/store.ts'
import { ManagerError } from '../error.ts'
import type { App, Manager } from '../http/app.ts'
import { type Caller, organisationsOf } from '../http/authentication.ts'
import { RateLimit } from '../http/rate-limit.ts'
import {
  digestParam,
  digestsQuery,
  flagQuery,
  leafProof,
  limitQuery,
  locations,
  positionQuery,
  refusals,
  saltField,
} from '../http/schemas.ts'

const documentTypes = Object.keys(documentSchemas) as [DocumentType, ...DocumentType[]]
// The envelope as a JSON string, which escapes its quotes, beside salt and locations.
const submissionBytesMax = 2 * documentBytesMax + 4096

const typeField = z.enum(documentTypes)
/** One type, or several by giving the parameter several times. */
const typesQuery = z
  .union([typeField, z.array(typeField).min(1).max(32)])
  .transform((given) => (typeof given === 'string' ? [given] : given))
  .optional()

const documentPage = z.object({
  documents: z.array(
    z.object({
      digest: z.string(),
      document: z.string(),
      salt: z.string(),
      index: z.int(),
      locations: locations.optional(),
    }),
  ),
  /** Where the next page begins. */
  next: z.int().optional(),
})

const submitted = leafProof.extend({ digest: z.string(), revoked: leafProof.optional() })

export function documentRoutes(app: App, manager: Manager): void {
  const { database, log, config, bearings } = manager
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
          if (!isType(signed, 'cella/approval')) return
          const { contract, organisation } = signed.payload
          await bearings.requireSound(await bearings.on(contract, [organisation]))
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
      const row = await findShown(tables, request.params.digest, readersOf(request.caller))
      if (row === undefined) {
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
          type: typesQuery,
          digest: digestsQuery,
          organisation: digestsQuery,
          about: digestsQuery,
          after: positionQuery,
          limit: limitQuery,
        }),
        response: {
          200: documentPage,
          ...refusals,
        },
      },
    },
    async (request) => {
      const { rows, isMore } = await listDocuments(tables, {
        ...request.query,
        for: readersOf(request.caller),
        types: request.query.type,
        digests: request.query.digest,
        organisations: request.query.organisation,
      })
      return pageOf(rows, isMore)
    },
  )

  app.get(
    '/v1/assets',
    {
      config: { access: 'account' },
      schema: {
        summary: 'Manifests that the account’s organisations find, newest first',
        querystring: z.strictObject({
          organisation: digestsQuery,
          series: nameField.optional(),
          kind: z.enum(['data', 'program', 'secret']).optional(),
          tag: nameField.optional(),
          prefix: z
            .string()
            .regex(/^[0-9a-f]{8,64}$/)
            .optional(),
          words: z.string().min(1).max(200).optional(),
          withdrawn: flagQuery,
          before: positionQuery,
          limit: limitQuery,
        }),
        response: { 200: documentPage, ...refusals },
      },
    },
    async (request) => {
      const { organisation: organisations, withdrawn = false, ...rest } = request.query
      const listing = { ...rest, organisations, withdrawn }
      const { rows, isMore } = await listAssets(tables, organisationsOf(request.caller), listing)
      return pageOf(rows, isMore)
    },
  )
}

/** Whose eyes a document has to be for; undefined for a worker, to whom everything is shown. */
function readersOf(caller: Caller): readonly string[] | undefined {
  if (caller.kind === 'worker') return undefined
  return caller.kind === 'account' ? caller.organisations : []
}

function pageOf(rows: readonly Selectable<DocumentsTable>[], isMore: boolean): z.output<typeof documentPage> {
  const documents = rows.map((row) => ({
    digest: row.digest,
    document: row.envelope,
    salt: row.salt,
    index: row.leaf_index ?? 0,
    ...located(row.locations),
  }))
  const last = documents.at(-1)
  return { documents, ...(isMore && last !== undefined ? { next: last.index } : {}) }
}

function located<Value>(found: Value | null): { locations: Value } | object {
  return found === null ? {} : { locations: found }
}
