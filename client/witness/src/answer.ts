import { encodeUtf8 } from '@cella/bytes'
import { LogError } from '@cella/log'

/** What a witness or mirror answers, for HTTP. */
export interface WitnessAnswer {
  readonly status: 200 | 202 | 400 | 403 | 404 | 409 | 422 | 429
  readonly type: string
  readonly body: Uint8Array
}

/** Why a request is refused; what is no LogError is thrown on. */
export function refusal(status: 400 | 403 | 422, error: unknown): WitnessAnswer {
  if (!(error instanceof LogError)) throw error
  return text(status, status === 422 ? `consistency proof: ${error.message}` : error.message)
}

export function text(status: WitnessAnswer['status'], message: string): WitnessAnswer {
  return { status, type: 'text/plain; charset=utf-8', body: encodeUtf8(`${message}\n`) }
}
