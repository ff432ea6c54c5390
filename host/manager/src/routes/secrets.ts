import { readFile, stat } from 'node:fs/promises'
import { nameField } from '@cella/documents'
import { z } from 'zod'
import { bearingOnSecret, keepSecretDecision } from '../documents/secret.ts'
import type { App, Manager } from '../http/app.ts'
import { digestParam, locations, loggedDocument, loggedDocumentBytesMax, refusals } from '../http/schemas.ts'

const collateralBytesMax = 4 * 2 ** 20

/** What a vault asks of its host when a guest asks it for a secret. Nothing that is answered here is believed there. */
export function secretRoutes(app: App, manager: Manager): void {
  const { tables } = manager.database
  const { collateral } = manager.config

  app.get(
    '/v1/secrets/:organisation/:series/:revision',
    {
      config: { access: 'worker' },
      schema: {
        summary: 'Documents that bear on a secret, where its ciphertext lies, and vendors’ collateral',
        params: z.object({
          organisation: digestParam,
          series: nameField,
          revision: z.union([z.literal('latest'), z.coerce.number().int().min(1).max(1_000_000)]),
        }),
        response: {
          200: z.object({
            documents: z.array(z.string()),
            locations: z.record(z.string(), locations),
            collateral: z.string().optional(),
          }),
          ...refusals,
        },
      },
    },
    async (request) => {
      const { documents, locations } = await bearingOnSecret(tables, request.params)
      const bytes = collateral === undefined ? undefined : await readCollateral(collateral)
      return {
        documents: [...documents],
        locations: { ...locations },
        ...(bytes && { collateral: bytes.toString('base64url') }),
      }
    },
  )

  app.post(
    '/v1/secrets/decisions',
    {
      bodyLimit: loggedDocumentBytesMax,
      config: { access: 'worker' },
      schema: {
        summary: 'Keeps a vault’s logged decision about a secret for its owner',
        body: loggedDocument,
        response: { 200: z.object({ digest: z.string() }), ...refusals },
      },
    },
    async (request) => ({ digest: await keepSecretDecision(tables, request.body) }),
  )
}

/** Read each time: an operator replaces the file while this runs. A file that is missing is collateral that is missing. */
async function readCollateral(path: string): Promise<Buffer | undefined> {
  try {
    if ((await stat(path)).size > collateralBytesMax) return undefined
    return await readFile(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}
