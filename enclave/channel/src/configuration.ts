import { concatBytes, type Digest, FormatError, type Json, parseCanonicalJson } from '@cella/bytes'
import { digestOf } from '@cella/primitives'
import type { z } from 'zod'
import { ChannelError } from './error.ts'

const configurationBytesMax = 65_536

/**
 * What the host tells an enclave at start: canonical JSON on standard input, closed after it. It is not measured, so
 * nothing in it may weaken anything: it says where things are. Its digest goes into the evidence's binding.
 */
export async function readConfiguration<Shape>(
  schema: z.ZodType<Shape>,
  input: AsyncIterable<Uint8Array>,
): Promise<{ configuration: Shape; digest: Digest }> {
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of input) {
    length += chunk.length
    if (length > configurationBytesMax) {
      throw new ChannelError('ERR_CONFIGURATION', `the configuration has more than ${configurationBytesMax} bytes`)
    }
    chunks.push(chunk)
  }
  const bytes = concatBytes(...chunks)
  const parsed = schema.safeParse(parse(bytes))
  if (!parsed.success) {
    const issue = parsed.error.issues[0]
    throw new ChannelError('ERR_CONFIGURATION', `configuration.${issue?.path.join('.')}: ${issue?.message}`)
  }
  return { configuration: parsed.data, digest: digestOf(bytes) }
}

function parse(bytes: Uint8Array): Json {
  try {
    return parseCanonicalJson(bytes, 'configuration', configurationBytesMax)
  } catch (cause) {
    if (!(cause instanceof FormatError)) throw cause
    throw new ChannelError('ERR_CONFIGURATION', cause.message, { cause })
  }
}
