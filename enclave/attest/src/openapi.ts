import type { Json } from '@cella/bytes'
import { z } from 'zod'
import { type Route, routes } from './routes.ts'

/** Refusals that every call may answer with. */
const common = ['ERR_REQUEST_MALFORMED', 'ERR_REQUEST_TOO_LARGE', 'ERR_RATE_LIMITED', 'ERR_NOT_READY']

let made: Json | undefined

/** OpenAPI 3.1 of the service, from the schemas that requests are read with. */
export function openApi(): Json {
  made ??= describe()
  return made
}

function describe(): Json {
  const paths: Record<string, Record<string, Json>> = {}
  for (const route of routes) {
    paths[route.path] = { ...paths[route.path], [route.method.toLowerCase()]: operation(route) }
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Cella attestation service',
      version: '1',
      description: 'Appraises evidence of TEEs under organisations’ policies and answers with signed results.',
    },
    paths: {
      ...paths,
      '/healthz': { get: health('The process lives') },
      '/readyz': { get: health('The service can answer') },
      '/openapi.json': { get: health('This description') },
    },
    components: {
      schemas: {
        Refusal: {
          type: 'object',
          required: ['error'],
          properties: {
            error: {
              type: 'object',
              required: ['code', 'message'],
              properties: { code: { type: 'string' }, message: { type: 'string' } },
            },
          },
        },
      },
    },
  }
}

function operation(route: Route): Json {
  const codes = [...common, ...route.refusals].join(', ')
  return {
    summary: route.summary,
    ...(route.queryNames.length > 0 && {
      parameters: route.queryNames.map((name) => ({ name, in: 'query', schema: { type: 'string' } })),
    }),
    ...(route.schema !== undefined && {
      requestBody: { required: true, content: { 'application/json': { schema: schemaOf(route.schema) } } },
    }),
    responses: {
      '200': { description: 'Answer', content: { [route.contentType]: { schema: { type: 'object' } } } },
      default: {
        description: `Refusal: ${codes}`,
        content: { 'application/json': { schema: { $ref: '#/components/schemas/Refusal' } } },
      },
    },
  }
}

function schemaOf(schema: z.ZodType): Json {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { unrepresentable: 'any', io: 'input' }) as {
    [name: string]: Json
  }
  return rest
}

function health(summary: string): Json {
  return { summary, responses: { '200': { description: 'Yes' }, '503': { description: 'Not yet' } } }
}
