import { digestField } from '@cella/documents'
import { z } from 'zod'
import { CliError } from './error.ts'
import { readTextFile } from './files.ts'

/**
 * What `cella up` writes about a server of one's own: enough to trust it, so it is read from one's own disk and never
 * from a manager.
 */
const installationSchema = z.object({
  format: z.literal('cella-installation/1'),
  manager: z.string().max(2048),
  /** A C2SP tlog-policy. */
  logPolicy: z.string().min(1).max(16_384),
  roots: z
    .array(
      z.strictObject({
        tee: z.literal('sev-snp'),
        product: z.enum(['Milan', 'Genoa', 'Turin', 'Venice']),
        spki: digestField,
        simulated: z.boolean(),
      }),
    )
    .min(1)
    .max(16),
  /** Digests of the Build documents. */
  builds: z.object({ vault: z.array(digestField).min(1).max(64), worker: z.array(digestField).min(1).max(64) }),
})
export type Installation = z.infer<typeof installationSchema>

/** Throws ERR_FILE. */
export async function readInstallation(path: string): Promise<Installation> {
  const text = await readTextFile(path)
  const wrong = (problem: string, cause?: unknown): CliError =>
    new CliError(
      'ERR_FILE',
      `${path} is no description of an installation: ${problem}`,
      '`cella up` writes one and says where',
      {
        cause,
      },
    )
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (cause) {
    throw wrong('it is not JSON', cause)
  }
  const parsed = installationSchema.safeParse(json)
  if (parsed.success) return parsed.data
  const issue = parsed.error.issues[0]
  throw wrong(`${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}`)
}
