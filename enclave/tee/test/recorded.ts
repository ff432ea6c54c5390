import { readFileSync } from 'node:fs'
import { sharedPath } from '@cella/testing'

/** One file of the recorded evidence, in the encoding of its source. */
export function recorded(path: string, encoding: 'raw' | 'hex' | 'base64' = 'raw'): Uint8Array {
  const bytes = readFileSync(sharedPath(`vectors/${path}`))
  if (encoding === 'raw') return new Uint8Array(bytes)
  const text = bytes.toString('utf8').trim().replace(/^0x/, '')
  return new Uint8Array(Buffer.from(text, encoding))
}

export function recordedJson(path: string): Record<string, unknown> {
  return JSON.parse(readFileSync(sharedPath(`vectors/${path}`), 'utf8'))
}

/** base64url text of a JSON member. */
export function decoded(text: unknown): Uint8Array {
  return new Uint8Array(Buffer.from(text as string, 'base64url'))
}
