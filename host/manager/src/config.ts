import { readFile, stat } from 'node:fs/promises'
import { blobSettingsSchema } from '@cella/blobs'
import { keyIdField, rootField } from '@cella/documents'
import { z } from 'zod'
import { ManagerError } from './error.ts'

const url = z
  .string()
  .max(2048)
  .regex(/^https?:\/\/[^\s?#]+$/, 'is not an http or https URL without query')

const address = z.strictObject({ host: z.string().min(1).max(255), port: z.int().min(0).max(65_535) })

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(?:\.[0-9]{1,3}){3}$/.test(host)
}

/** The configuration file, docs/manager.md. Unknown members are refused: a misspelt limit must not be silently absent. */
const configSchema = z.strictObject({
  /** What people see. */
  name: z.string().min(1).max(200).default('Cella'),
  /** Plain HTTP, for this machine alone: enclaves, and a proxy that brings TLS. `port` 0 takes any free one. */
  listen: address.refine(({ host }) => isLoopback(host), {
    message: 'is not on this machine alone: plain HTTP elsewhere is refused, use public',
  }),
  /** HTTPS, for everybody else. The files are PEM, the certificate first, then those that lead up to its authority. */
  public: address.extend({ certificateFile: z.string().min(1), keyFile: z.string().min(1) }).optional(),
  /** Where the own database and the folder of blobs lie. */
  dataFolder: z.string().min(1),
  /** `postgresql://…`; absent: the environment's DATABASE_URL, and without that a PostgreSQL of one's own. */
  database: z.strictObject({ url: z.string().regex(/^postgres(?:ql)?:\/\//) }).optional(),
  blobs: blobSettingsSchema.default({ kind: 'folder' }),
  log: z.strictObject({
    /** Below it lie `checkpoint`, `tile/…` and `entries`. */
    url,
    vkey: z.string().min(1).max(1000),
  }),
  /** Signing key id of each vault, where it is reached from here, and until when it will be served (Unix seconds). */
  vaults: z
    .array(z.strictObject({ id: keyIdField, url, until: z.int().min(0).max(253_402_300_799).optional() }))
    .max(64),
  /** The attestation service, where one runs beside it: passed through under /attest. */
  attest: z.strictObject({ url }).optional(),
  /** A collateral file (`cella evidence collateral export`) that vaults get beside guests' evidence. */
  collateral: z.string().min(1).max(4096).optional(),
  /** An OTLP/HTTP collector for traces: spans go to `URL/v1/traces`. Absent: none are made. */
  traces: z.strictObject({ endpoint: url }).optional(),
  /** What workers show; it protects the queue, no secret. */
  workerToken: z.string().min(32).max(500),
  /**
   * Roots that workers' evidence has to lead to: those of all vendors, or a list, which may name simulated ones. It decides
   * which workers are offered runs; what they get keys for, vaults decide.
   */
  workers: z
    .strictObject({ roots: z.union([z.literal('vendors'), z.array(rootField).min(1).max(64)]).default('vendors') })
    .prefault({}),
  /** `inside`: whether plain HTTP and addresses of the operator's own network may be called. */
  webhooks: z.strictObject({ inside: z.boolean().default(false) }).prefault({}),
  limits: z
    .strictObject({
      leaseSeconds: z.int().min(1).max(3600).default(15),
      /** Longest wait of a poll. */
      pollSeconds: z.number().min(0.1).max(25).default(25),
      /** Runs of one contract's organisation that wait at a time. */
      queuedRunsMax: z.int().min(1).max(1_000_000).default(1000),
      blobBytesMax: z
        .int()
        .min(1)
        .max(Number.MAX_SAFE_INTEGER)
        .default(64 * 2 ** 30),
      /** All blobs that one organisation stored. */
      organisationBytesMax: z
        .int()
        .min(1)
        .max(Number.MAX_SAFE_INTEGER)
        .default(2 ** 40),
      /** Uploads that one organisation has open at a time; an account without one, likewise. */
      organisationUploadsMax: z.int().min(1).max(1000).default(64),
      /** Bodies of events beside the log, of all organisations. */
      eventBytesMax: z
        .int()
        .min(1)
        .max(Number.MAX_SAFE_INTEGER)
        .default(64 * 2 ** 30),
      /** Requests a minute of all accounts of one organisation together. */
      organisationRequestsPerMinute: z.int().min(1).max(10_000_000).default(6000),
      /** Bodies of events that one account's vault at home may hand in while the manager runs. */
      brokerEventBytesMax: z
        .int()
        .min(1)
        .max(Number.MAX_SAFE_INTEGER)
        .default(2 ** 30),
      /** Documents a minute from one address that shows no token. */
      documentsPerMinute: z.int().min(1).max(1_000_000).default(1200),
      /** Calls to vaults a minute from one address that shows no token. */
      vaultCallsPerMinute: z.int().min(1).max(1_000_000).default(1200),
      /** Calls to the attestation service a minute from one address, whoever it is. */
      attestCallsPerMinute: z.int().min(1).max(1_000_000).default(1200),
      /** Challenges to workers a minute from one address, whoever it is. */
      challengesPerMinute: z.int().min(1).max(1_000_000).default(120),
      /** How long a worker's evidence is enough to be offered runs. */
      workerEvidenceSeconds: z.int().min(1).max(604_800).default(3600),
      eventStreamsMax: z.int().min(1).max(100_000).default(256),
    })
    .prefault({}),
  retention: z
    .strictObject({
      /** How long a blob that nothing names is kept: uploads come before the documents that name them. */
      orphanHours: z.number().min(0).max(87_600).default(168),
      /** Events for followers and webhooks. */
      noticeDays: z.number().min(1).max(36_500).default(90),
      /** Sealed outputs of runs that ended; null: for ever. Receipts are always kept. */
      outputDays: z.number().min(0).max(36_500).nullable().default(null),
      /** Ciphertext of assets that were withdrawn; null: for ever. Their documents are always kept. */
      withdrawnDays: z.number().min(0).max(36_500).nullable().default(null),
    })
    .prefault({}),
  logLevel: z.enum(['debug', 'info', 'warn', 'error', 'silent']).default('info'),
})
export type Config = z.output<typeof configSchema>
/** As written into the file, defaults left out. */
export type ConfigInput = z.input<typeof configSchema>

/** Throws ERR_CONFIG_MALFORMED naming the member; never repeats a value, which may be a secret. */
export function parseConfig(value: unknown): Config {
  const parsed = configSchema.safeParse(value)
  if (parsed.success) return parsed.data
  const issue = parsed.error.issues[0]
  throw new ManagerError(
    'ERR_CONFIG_MALFORMED',
    `configuration: ${issue?.path.join('.') || 'file'}: ${issue?.code ?? 'invalid'}`,
    { hint: 'docs/manager.md lists every member' },
  )
}

/** Reads a configuration file. It holds secrets, so one that others can read is refused. */
export async function readConfig(path: string): Promise<Config> {
  let text: string
  try {
    const { mode } = await stat(path)
    if (process.platform !== 'win32' && (mode & 0o077) !== 0) {
      throw new ManagerError('ERR_CONFIG_MALFORMED', `${path} can be read by others and holds secrets`, {
        hint: `chmod 600 ${path}`,
      })
    }
    text = await readFile(path, 'utf8')
  } catch (cause) {
    if (cause instanceof ManagerError) throw cause
    throw new ManagerError('ERR_CONFIG_MALFORMED', `${path} can't be read`, { cause })
  }
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    // The parser's own message quotes the text.
    throw new ManagerError('ERR_CONFIG_MALFORMED', `${path} is not JSON`)
  }
  return parseConfig(value)
}
