import { digestField } from '@cella/documents'
import { simulatedTees } from '@cella/tee'
import { z } from 'zod'

const path = z.string().min(1).max(4096)

/** `https:`, or `http:` of this machine for a rehearsal; no slash at its end, no query: it is compared as text. */
const issuerField: z.ZodType<string> = z
  .url({ protocol: /^https?$/ })
  .max(500)
  .refine((text) => {
    const url = new URL(text)
    const isLocal = ['127.0.0.1', '[::1]', 'localhost'].includes(url.hostname)
    const isPlain = url.search === '' && url.hash === '' && url.username === '' && !text.endsWith('/')
    return isPlain && (url.protocol === 'https:' || isLocal)
  }, 'is not https://HOST[/PATH] without a slash at its end')

const limitsSchema = z.strictObject({
  /** Requests a second from one address, and evidence a second under one organisation's policies. */
  addressPerSecond: z.int().min(1).max(1_000_000),
  organisationPerSecond: z.int().min(1).max(1_000_000),
})

/**
 * What whoever runs the service tells it at start. None of it decides what evidence is genuine or acceptable: roots,
 * issuers and policies are in signed documents, or in the measured code.
 */
export const attestConfigurationSchema = z.strictObject({
  listen: z.strictObject({ host: z.string().min(1).max(253), port: z.int().min(0).max(65_535) }),
  /** The `iss` of its tokens, under which the world finds its `.well-known`; null: the address it listens at. */
  issuer: issuerField.nullable(),
  /** Keys and policies. */
  folder: path,
  collateral: path.nullable(),
  /** Whose policies are taken. */
  organisations: z.union([z.literal('any'), z.array(digestField).min(1).max(1000)]),
  /** Files with the body of a `PUT /v1/policies`, taken at start; one that is known already changes nothing. */
  policies: z.array(path).max(100),
  /** How long a token is valid. */
  tokenSeconds: z.int().min(30).max(86_400),
  /** After how many days another key signs. */
  keyDays: z.int().min(1).max(3650),
  /** Another key signs from this start on. */
  rotate: z.boolean(),
  limits: limitsSchema,
  log: z.enum(['info', 'warn', 'silent']),
  /** null: a plain process, which has no evidence to show. */
  tee: z.union([
    z.null(),
    z.strictObject({ kind: z.literal('hardware') }),
    z.strictObject({ kind: z.literal('simulated'), folder: path, tee: z.enum(simulatedTees).exactOptional() }),
  ]),
})
export type AttestConfiguration = z.infer<typeof attestConfigurationSchema>
