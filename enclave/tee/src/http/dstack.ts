import { encodeHex, FormatError } from '@cella/bytes'
import { quotePiece } from '../quote-pieces.ts'
import { type Attempt, type Probe, requireLength, type SourceDriver } from '../source.ts'
import { jsonObject, readingAnswer, textMember } from './answer.ts'
import { callService, lookForService, type ServiceAddress } from './request.ts'

// dstack's guest agent: its frozen interface of 0.3 to 0.5, which later ones keep serving.

export interface DstackOptions {
  readonly agent?: ServiceAddress
  readonly timeoutMs?: number
}

/** A container in a dstack CVM on TDX. The agent's own event log (JSON) is not taken: RTMR values are in the quote. */
export function dstackDriver(options: DstackOptions = {}): SourceDriver {
  const { agent = { socket: '/var/run/dstack.sock' }, timeoutMs = 30_000 } = options
  return {
    name: 'dstack',
    title: 'dstack guest agent: Intel TDX',
    async probe(): Promise<Probe> {
      const attempts: Attempt[] = []
      if (!(await lookForService(agent, Math.min(timeoutMs, 2_000), attempts))) {
        return { source: undefined, attempts, why: 'no guest agent listens; mount its socket into the container' }
      }
      return {
        attempts,
        source: {
          name: 'dstack',
          bindingLength: 64,
          async collect(binding) {
            requireLength(binding, 64)
            const own = Uint8Array.from(binding)
            const body = { report_data: encodeHex(own) }
            const answer = await callService(agent, { method: 'POST', path: '/GetQuote', body, timeoutMs })
            return readingAnswer('the guest agent’s quote', () => {
              const quote = textMember(jsonObject(answer, 'answer'), 'quote').replace(/^0x/, '')
              if (!/^(?:[0-9a-fA-F]{2})+$/.test(quote)) throw new FormatError('quote', 'is not hexadecimal')
              return [quotePiece(Uint8Array.fromHex(quote), 'tdx', own)]
            })
          },
        },
      }
    },
  }
}
