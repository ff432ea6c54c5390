import { encodeHex } from '@cella/bytes'
import { sha512 } from '@cella/primitives'
import type { Claims } from '../claims.ts'
import { headerTagsOf } from './answer.ts'
import type { IbmSeEntry } from './entry.ts'
import type { IbmSeAddition } from './request.ts'

/** What genuine evidence of IBM Secure Execution says. `hardware` has what only it knows. */
export interface IbmSeClaims extends Claims {
  readonly tee: 'ibm-se'
  readonly hardware: {
    readonly configurationId: string
    /** Of the machine that opened the image, and of the one that opened the request. */
    readonly imageHostKey: string
    readonly attestationHostKey: string
    readonly secretStore: string | null
    /** Means something to a service of IBM's alone. */
    readonly firmwareState: string | null
    /** No sample of real hardware was public when this was written: the checks follow IBM's own verifier. */
    readonly testedOnHardware: false
  }
}

export function ibmSeClaims(
  entry: IbmSeEntry,
  additions: ReadonlyMap<IbmSeAddition, Uint8Array>,
  simulated: boolean,
): IbmSeClaims {
  const { pageList, addressList, tweakList, tag } = headerTagsOf(entry.headerTags)
  const hexOf = (name: IbmSeAddition): string | null => {
    const bytes = additions.get(name)
    return bytes === undefined ? null : encodeHex(bytes)
  }
  // All four together: the same pages at other addresses are another guest.
  const measurement = encodeHex(sha512(entry.headerTags))
  return {
    tee: 'ibm-se',
    role: entry.role,
    boundary: 'vm',
    measurement,
    measurements: {
      'header-digest': measurement,
      'page-list': encodeHex(pageList),
      'address-list': encodeHex(addressList),
      'tweak-list': encodeHex(tweakList),
      'header-tag': encodeHex(tag),
    },
    hostData: null,
    reportData: entry.userData.length === 0 ? null : encodeHex(entry.userData),
    platformId: hexOf('attestation-host-key'),
    provider: null,
    tcb: { status: null, advisories: [], levels: {}, date: null, evaluation: null },
    // Whether a guest may be dumped is in its header, which the measurement covers.
    debug: false,
    simulated,
    hardware: {
      configurationId: encodeHex(entry.configurationId),
      imageHostKey: hexOf('image-host-key') ?? '',
      attestationHostKey: hexOf('attestation-host-key') ?? '',
      secretStore: hexOf('secret-store'),
      firmwareState: hexOf('firmware-state'),
      testedOnHardware: false,
    },
  }
}
