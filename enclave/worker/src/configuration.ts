import { simulatedTees } from '@cella/tee'
import { z } from 'zod'

/** What the host tells a worker: where things are. Nothing in it can weaken a run. */
export const workerConfigurationSchema = z.strictObject({
  /** Origin of the manager, such as `http://127.0.0.1:7411`. */
  manager: z.url(),
  /** Origin of the log server, where it is reached without the manager; left out: through the manager. */
  log: z.url().exactOptional(),
  /** Protects the manager's queue; no secret depends on it. */
  token: z.string().min(1).max(200),
  /** A name for the manager's lists. */
  name: z.string().min(1).max(100),
  /** C2SP tlog-policy with one log. */
  logPolicy: z.string().min(1).max(16_384),
  /** Path of the runner's bundle. It is used only if it has the digest that this worker was built with. */
  runner: z.string().min(1),
  /** Runners kept ready. */
  pool: z.int().min(0).max(16),
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
