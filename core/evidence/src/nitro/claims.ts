import { encodeHex } from '@cella/bytes'
import type { Claims } from '../claims.ts'
import type { EvidenceRole } from '../evidence.ts'
import type { NitroDocument } from './document.ts'

/** What a genuine attestation document says. `hardware` has what only Nitro knows. */
export interface NitroClaims extends Claims {
  readonly tee: 'nitro'
  readonly hardware: {
    /** `i-<instance>-enc<number>`. */
    readonly moduleId: string
    /** Milliseconds since 1970, by the hypervisor's clock. */
    readonly timestamp: number
    /** `eu-west-1`, as the certificate names it; `null` where it names none. */
    readonly region: string | null
    /** What the enclave handed in, in hexadecimal. */
    readonly publicKey: string | null
    readonly nonce: string | null
  }
}

interface Said {
  readonly role: EvidenceRole
  readonly simulated: boolean
  readonly document: NitroDocument
  readonly partition?: string
  readonly region?: string
}

export function nitroClaims({ role, simulated, document, partition, region }: Said): NitroClaims {
  const pcrs = [...document.pcrs].sort(([a], [b]) => a - b)
  return {
    tee: 'nitro',
    role,
    boundary: 'vm',
    measurement: encodeHex(document.pcrs.get(0)!),
    measurements: Object.fromEntries(pcrs.map(([index, value]) => [`pcr${index}`, encodeHex(value)])),
    hostData: null,
    reportData: hexOrNull(document.userData),
    platformId: /^(i-[0-9a-f]{8,32})-enc[0-9a-f]{1,32}$/.exec(document.moduleId)?.[1] ?? null,
    provider: partition ?? null,
    // AWS publishes no levels of the Nitro system.
    tcb: { status: null, advisories: [], levels: {}, date: null, evaluation: null },
    debug: isDebug(document),
    simulated,
    hardware: {
      moduleId: document.moduleId,
      timestamp: document.timestamp,
      region: region ?? null,
      publicKey: hexOrNull(document.publicKey),
      nonce: hexOrNull(document.nonce),
    },
  }
}

/** An enclave started in debug mode has zeros in PCR0, PCR1 and PCR2, and its console is open to its host. */
function isDebug({ pcrs }: NitroDocument): boolean {
  return [0, 1, 2].every((index) => pcrs.get(index)?.every((byte) => byte === 0) ?? true)
}

function hexOrNull(bytes: Uint8Array | undefined): string | null {
  return bytes === undefined ? null : encodeHex(bytes)
}
