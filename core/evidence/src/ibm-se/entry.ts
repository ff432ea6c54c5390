import type { EvidenceRole } from '../evidence.ts'

/** What the Ultravisor of an IBM Z or LinuxONE machine answered to an attestation request, in its own words. */
export interface IbmSeEntry {
  readonly role: EvidenceRole
  readonly format: 'ibm-se/1'
  /** 64 bytes: HMAC-SHA-512 under the request's measurement key. */
  readonly measurement: Uint8Array
  /** 208 bytes of the image's header: page list, address list and tweak list digest (64 each), header tag (16). */
  readonly headerTags: Uint8Array
  /** 16 bytes: the configuration's unique id, new at each start of a guest. */
  readonly configurationId: Uint8Array
  /** 0 to 256 bytes that the guest chose. */
  readonly userData: Uint8Array
  /** What the request asked for beside, 0 to 32768 bytes. */
  readonly additionalData: Uint8Array
}
