import { encodeBase64 } from '@cella/bytes'
import { malformed, parseDecimal, parseHash } from './parsing.ts'

// c2sp.org/tlog-checkpoint, the text of a note: origin, size in decimal, root in base64, then extension lines.

export interface Checkpoint {
  readonly origin: string
  /** Leaves. */
  readonly size: number
  /** 32 bytes. */
  readonly root: Uint8Array
  /** Lines after the root, none of them empty. */
  readonly extensions: readonly string[]
}

/** The text of a checkpoint note. Throws ERR_LOG_MALFORMED. */
export function parseCheckpointText(text: string): Checkpoint {
  if (!text.endsWith('\n')) throw malformed('checkpoint', 'does not end in a newline')
  const [origin, size, root, ...extensions] = text.slice(0, -1).split('\n')
  if (origin === undefined || origin === '') throw malformed('checkpoint', 'has no origin')
  if (size === undefined || root === undefined) throw malformed('checkpoint', 'has less than three lines')
  if (extensions.includes('')) throw malformed('checkpoint', 'has an empty line')
  return {
    origin,
    size: parseDecimal(size, 'checkpoint size'),
    root: parseHash(root, 'checkpoint root'),
    extensions,
  }
}

/** The inverse of `parseCheckpointText`. */
export function encodeCheckpointText(checkpoint: Checkpoint): string {
  const lines = [checkpoint.origin, String(checkpoint.size), encodeBase64(checkpoint.root), ...checkpoint.extensions]
  return `${lines.join('\n')}\n`
}
