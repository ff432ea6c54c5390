import { rootField } from '@cella/documents'
import { simulatedTees } from '@cella/tee'
import { z } from 'zod'

/**
 * What the host tells a signer. Nothing in it lets a second history be signed; to which code the key may pass is shown in
 * the signer's statement (`builder`), for whoever relies on it.
 */
export const signerConfigurationSchema = z.strictObject({
  /** The log's name; the key is of it for ever. */
  origin: z.string().min(1).max(255),
  listen: z.strictObject({ host: z.literal('127.0.0.1'), port: z.int().min(0).max(65_535) }),
  /** Folder for sealed state. */
  folder: z.string().min(1),
  /** The Build document of this code, and revision 1 of the organisation whose Build documents the key may pass to. */
  build: z.string().min(1).max(200_000),
  builder: z.string().min(1).max(200_000),
  /** Under which the evidence of the next signer has to be genuine. */
  roots: z.array(rootField).min(1).max(32),
  /** The statements on a key that this signer is to take over, oldest first. Absent: its key is born here. */
  predecessors: z.array(z.string().min(1).max(1_048_576)).min(1).max(1024).exactOptional(),
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
export type SignerConfiguration = z.infer<typeof signerConfigurationSchema>
