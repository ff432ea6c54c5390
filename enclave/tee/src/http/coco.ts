import { decodeBase64, encodeBase64, FormatError } from '@cella/bytes'
import { snpEvidenceOfTrustee } from '@cella/evidence'
import { quotePiece } from '../quote-pieces.ts'
import { snpPiece } from '../snp-pieces.ts'
import { type Attempt, type EvidencePiece, type Probe, requireLength, type SourceDriver } from '../source.ts'
import { jsonObject, readingAnswer, textMember } from './answer.ts'
import { callService, lookForService, type ServiceAddress } from './request.ts'

// Confidential Containers: the api-server-rest of guest-components, which passes on to the attestation agent.

export interface CocoOptions {
  readonly agent?: ServiceAddress
  /** SNP: the ASK and ARK, PEM or DER, and the VCEK where the host gives none: the agent sends the VCEK at most. */
  readonly certificates?: readonly Uint8Array[]
  readonly timeoutMs?: number
}

/** A pod of Confidential Containers, through its attestation agent: SNP or TDX below it. */
export function cocoDriver(options: CocoOptions = {}): SourceDriver {
  const { agent = { host: '127.0.0.1', port: 8006 }, certificates = [], timeoutMs = 30_000 } = options
  return {
    name: 'coco',
    title: 'Confidential Containers: attestation agent',
    async probe(): Promise<Probe> {
      const attempts: Attempt[] = []
      if (!(await lookForService(agent, Math.min(timeoutMs, 2_000), attempts))) {
        return {
          source: undefined,
          attempts,
          why: 'no attestation agent listens; is api-server-rest on with evidence?',
        }
      }
      return {
        attempts,
        source: {
          name: 'coco',
          bindingLength: 64,
          async collect(binding) {
            requireLength(binding, 64)
            const own = Uint8Array.from(binding)
            const query = new URLSearchParams({ runtime_data: encodeBase64(own), encoding: 'base64' })
            const path = `/aa/evidence?${query}`
            return [agentPiece(await callService(agent, { method: 'GET', path, timeoutMs }), own, certificates)]
          },
        },
      }
    },
  }
}

/** The agent's JSON has no name of its TEE: its members tell. */
function agentPiece(json: Uint8Array, binding: Uint8Array, certificates: readonly Uint8Array[]): EvidencePiece {
  return readingAnswer('the attestation agent’s evidence', () => {
    const evidence = jsonObject(json, 'evidence')
    if (Object.hasOwn(evidence, 'quote')) {
      const log = evidence.cc_eventlog
      const eventLog = typeof log === 'string' && log !== '' ? decodeBase64(log, 'cc_eventlog') : undefined
      return quotePiece(decodeBase64(textMember(evidence, 'quote'), 'quote'), 'tdx', binding, eventLog)
    }
    if (Object.hasOwn(evidence, 'attestation_report')) {
      const entry = snpEvidenceOfTrustee(json, certificates)
      return snpPiece(entry.report, entry.certificates, binding)
    }
    throw new FormatError(
      'evidence',
      `is of no TEE that is read here: has ${Object.keys(evidence).slice(0, 8).join(', ')}`,
    )
  })
}
