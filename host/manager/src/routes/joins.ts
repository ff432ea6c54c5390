import { z } from 'zod'
import { bearingOnTerms, keepJoin } from '../documents/joins.ts'
import type { App, Manager } from '../http/app.ts'
import { digestParam, loggedDocument, loggedDocumentBytesMax, refusals } from '../http/schemas.ts'

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
      bodyLimit: loggedDocumentBytesMax,
      config: { access: 'worker' },
      schema: {
        summary: 'Keeps a join that two vaults signed and logged',
        body: loggedDocument,
        response: { 200: z.object({ digest: z.string() }), ...refusals },
      },
    },
    async (request) => ({ digest: await keepJoin(tables, request.body) }),
  )
}
