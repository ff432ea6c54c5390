import { simulatedTees } from '@cella/tee'
import { z } from 'zod'

/** What the host tells a signer. Nothing in it lets a second history be signed. */
export const signerConfigurationSchema = z.strictObject({
  /** The log's name; the key is of it for ever. */
  origin: z.string().min(1).max(255),
  listen: z.strictObject({ host: z.literal('127.0.0.1'), port: z.int().min(0).max(65_535) }),
  /** Folder for sealed state. */
  folder: z.string().min(1),
  /** A simulated TEE only where it is named here; `hardware` takes what is found and never a simulated one. */
  tee: z.discriminatedUnion('kind', [
    z.strictObject({
      kind: z.literal('simulated'),
      folder: z.string().min(1),
      /** SEV-SNP when absent. */
      tee: z.enum(simulatedTees).exactOptional(),
    }),
    z.strictObject({ kind: z.literal('hardware') }),
  ]),
})
