import { simulatedTees } from '@cella/tee'
import { z } from 'zod'

/**
 * What the host tells a vault. Nothing in it can weaken a release: the log policy here only says which log to read;
 * which witnesses count is in each owner's terms.
 */
export const vaultConfigurationSchema = z.strictObject({
  /** Origin of the manager, such as `http://127.0.0.1:7411`. */
  manager: z.url(),
  /** Origin of the log server, where it is reached without the manager; left out: through the manager. */
  log: z.url().exactOptional(),
  /** Shown when appending to the log; no secret depends on it. */
  token: z.string().min(1).max(500),
  /** C2SP tlog-policy with one log. */
  logPolicy: z.string().min(1).max(16_384),
  listen: z.strictObject({ host: z.literal('127.0.0.1'), port: z.int().min(0).max(65_535) }),
  /** Folder for sealed state. */
  folder: z.string().min(1),
  /**
   * Seconds between entries of cover traffic: each organisation's stream has at least one entry in each. Left out: none.
   * As all of this, it is part of what the vault's evidence binds.
   */
  coverSeconds: z.int().min(1).max(86_400).exactOptional(),
  /**
   * Other vaults: where this one listens for those that may join it, and those that it asks to take over what they hold. Who
   * gets anything is for each organisation's own terms.
   */
  join: z
    .strictObject({
      listen: z.strictObject({ host: z.string().min(1).max(255), port: z.int().min(0).max(65_535) }).exactOptional(),
      from: z.array(z.strictObject({ host: z.string().min(1).max(255), port: z.int().min(1).max(65_535) })).max(8),
    })
    .exactOptional(),
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
