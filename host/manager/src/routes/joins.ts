import { documentBytesMax } from '@cella/documents'
import { z } from 'zod'
import { bearingOnTerms, keepJoin } from '../documents/joins.ts'
import type { App, Manager } from '../http/app.ts'
import { digestParam, refusals, saltField } from '../http/schemas.ts'

const joinBytesMax = 2 * documentBytesMax + 4096
const leafField = z.string().regex(/^[A-Za-z0-9_-]{86}$/)

/** What vaults ask of their host when one of them joins another. Nothing that is answered here is believed there. */
export function joinRoutes(app: App, manager: Manager): void {
  const { tables } = manager.database

  app.get(
    '/v1/terms/:organisation',
    {
      config: { access: 'worker' },
      schema: {
        summary: 'An organisation’s terms with all that makes them count, and the builds that they name',
        params: z.object({ organisation: digestParam }),
        response: { 200: z.object({ documents: z.array(z.string()) }), ...refusals },
      },
    },
    async (request) => ({ documents: await bearingOnTerms(tables, request.params.organisation) }),
  )

  app.post(
    '/v1/joins',
    {
      bodyLimit: joinBytesMax,
      config: { access: 'worker' },
      schema: {
        summary: 'Keeps a join that two vaults signed and logged',
        body: z.strictObject({
          document: z.string().max(documentBytesMax),
          salt: saltField,
          leaf: leafField,
          index: z.int().min(0).max(Number.MAX_SAFE_INTEGER),
        }),
        response: { 200: z.object({ digest: z.string() }), ...refusals },
      },
    },
    async (request) => ({ digest: await keepJoin(tables, request.body) }),
  )
}
