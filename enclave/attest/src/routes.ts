import { decodeUtf8, FormatError, type Json } from '@cella/bytes'
import { bytesField, digestField } from '@cella/documents'
import type { z } from 'zod'
import { AttestError } from './error.ts'
import { attestRequest, batchMax, batchRequest, challengeRequest, nonceRequest, policyRequest } from './requests.ts'
import type { AttestationService } from './service.ts'

const small = 4096
const evidenceRequestBytesMax = 1_572_864

/** What a call is given: the body, parsed where there is a schema, and the members of the query. */
interface Call<Body> {
  readonly service: AttestationService
  readonly body: Body
  readonly query: URLSearchParams
  /** What the caller is told of an error in one item of a batch. */
  readonly refusal: (error: unknown) => Json
}

export interface Route {
  readonly method: 'GET' | 'POST' | 'PUT'
  readonly path: string
  readonly summary: string
  /** Of the body; a call without one reads none. */
  readonly schema: z.ZodType | undefined
  readonly bodyBytesMax: number
  readonly queryNames: readonly string[]
  readonly contentType: string
  /** Whether the answer may be kept by caches for a while. */
  readonly maxAgeSeconds: number
  /** Codes of refusals beside those that every call may get. */
  readonly refusals: readonly string[]
  answer(call: Call<unknown>): Json | Promise<Json>
}

function get(
  path: string,
  summary: string,
  answer: (call: Call<unknown>) => Json | Promise<Json>,
  more: Partial<Route> = {},
): Route {
  return {
    method: 'GET',
    path,
    summary,
    schema: undefined,
    bodyBytesMax: 0,
    queryNames: [],
    contentType: 'application/json',
    maxAgeSeconds: 0,
    refusals: [],
    answer,
    ...more,
  }
}

function taking<Body>(
  method: 'POST' | 'PUT',
  path: string,
  about: { summary: string; schema: z.ZodType<Body>; bodyBytesMax: number; refusals: readonly string[] },
  answer: (call: Call<Body>) => Json | Promise<Json>,
): Route {
  return {
    method,
    path,
    queryNames: [],
    contentType: 'application/json',
    maxAgeSeconds: 0,
    ...about,
    answer: answer as Route['answer'],
  }
}

const attesting = [
  'ERR_NONCE_UNKNOWN',
  'ERR_BINDING_MISSING',
  'ERR_POLICY_UNKNOWN',
  'ERR_POLICY_NOT_IN_FORCE',
  'ERR_EVIDENCE_MALFORMED',
  'ERR_EVIDENCE_FORMAT_UNKNOWN',
] as const

/** Every call that the service has, but for its own description and health. */
export const routes: readonly Route[] = [
  taking(
    'POST',
    '/v1/nonces',
    {
      summary: 'A challenge for evidence: 32 bytes, good once',
      schema: nonceRequest,
      bodyBytesMax: small,
      refusals: ['ERR_SERVICE_FULL'],
    },
    ({ service }) => service.nonce(),
  ),
  taking(
    'POST',
    '/v1/attest',
    {
      summary: 'Appraises evidence under a named policy; the answer holds an attestation result (EAR) as a JWT',
      schema: attestRequest,
      bodyBytesMax: evidenceRequestBytesMax,
      refusals: attesting,
    },
    ({ service, body }) => service.attest(body),
  ),
  taking(
    'POST',
    '/v1/attest/batch',
    {
      summary: `Up to ${batchMax} at once; a refusal stands in its place as {"error"}`,
      schema: batchRequest,
      bodyBytesMax: 8_388_608,
      refusals: [],
    },
    ({ service, body, refusal }) => service.batch(body.requests, refusal),
  ),
  taking(
    'PUT',
    '/v1/policies',
    {
      summary: 'Takes a policy that its organisation signed, and keeps it',
      schema: policyRequest,
      bodyBytesMax: 4_194_304,
      refusals: [
        'ERR_DOCUMENT_MALFORMED',
        'ERR_DOCUMENT_SIGNATURE',
        'ERR_DOCUMENT_NOT_ENTITLED',
        'ERR_EVIDENCE_POLICY',
        'ERR_POLICY_MALFORMED',
        'ERR_POLICY_OLDER',
        'ERR_ORGANISATION_CHAIN',
        'ERR_ORGANISATION_REFUSED',
        'ERR_SERVICE_FULL',
      ],
    },
    ({ service, body }) => service.putPolicy(body),
  ),
  get(
    '/v1/policies',
    'The policies of an organisation: names, revisions, digests, whether they are in force',
    ({ service, query }) => {
      const organisation = digestField.safeParse(query.get('organisation'))
      if (!organisation.success) throw malformed('organisation: is not a digest; write ?organisation=DIGEST')
      return service.policies(organisation.data)
    },
    { queryNames: ['organisation'] },
  ),
  taking(
    'POST',
    '/challenge',
    {
      summary: 'Fresh evidence of this service over the caller’s nonce and its keys',
      schema: challengeRequest,
      bodyBytesMax: small,
      refusals: ['ERR_TEE_ABSENT', 'ERR_TEE_BUSY'],
    },
    ({ service, body }) => service.challenge(body.nonce),
  ),
  get(
    '/v1/metadata',
    'What this service is; with a nonce, together with its evidence over it',
    ({ service, query }) => {
      const nonce = query.get('nonce') ?? undefined
      if (nonce !== undefined && !bytesField({ exactly: 32 }).safeParse(nonce).success) {
        throw malformed('nonce: is not base64url of 32 bytes')
      }
      return service.metadata(nonce)
    },
    { queryNames: ['nonce'], refusals: ['ERR_TEE_BUSY'] },
  ),
  get('/.well-known/openid-configuration', 'OpenID Connect Discovery', ({ service }) => service.discovery(), {
    maxAgeSeconds: 300,
  }),
  get('/.well-known/jwks.json', 'The keys that tokens are verified with', ({ service }) => service.jwks(), {
    contentType: 'application/jwk-set+json',
    maxAgeSeconds: 300,
  }),
]

/** The query of a call: only names that it knows, each once. */
export function parseQuery(route: Route, text: string): URLSearchParams {
  const query = new URLSearchParams(text)
  const names = [...query.keys()]
  const strange = names.find((name, at) => !route.queryNames.includes(name) || names.indexOf(name) !== at)
  if (strange !== undefined) {
    throw malformed(`query: ${JSON.stringify(strange.slice(0, 40))} is not known here, or stands there twice`)
  }
  return query
}

export function parseBody(route: Route, bytes: Uint8Array): unknown {
  if (route.schema === undefined) return undefined
  let json: unknown
  try {
    json = JSON.parse(decodeUtf8(bytes, 'request'))
  } catch (cause) {
    if (!(cause instanceof FormatError || cause instanceof SyntaxError)) throw cause
    throw new AttestError('ERR_REQUEST_MALFORMED', 'the request is not JSON', { cause })
  }
  const parsed = route.schema.safeParse(json)
  if (parsed.success) return parsed.data
  const issue = parsed.error.issues[0]
  throw malformed(`${issue?.path.join('.') || 'body'}: ${issue?.message}`)
}

function malformed(problem: string): AttestError {
  return new AttestError('ERR_REQUEST_MALFORMED', `request: ${problem}`)
}
