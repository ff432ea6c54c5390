import type { EvidenceRole } from '@cella/evidence'

/** Where evidence may come from, most direct first: the order in which they are tried. */
export const sourceNames = [
  'gramine',
  'nitro-nsm',
  'azure-container-group',
  'azure-vtpm',
  'configfs-tsm',
  'sev-guest',
  'dstack',
  'confidential-space',
  'coco',
] as const
export type SourceName = (typeof sourceNames)[number]

/** One entry of evidence as its format names the parts, raw: what verifies it is core/evidence. */
export interface EvidencePiece {
  readonly role: EvidenceRole
  /** `sev-snp/1`, `tdx/1`, `sgx/1`, `nitro/1`, `cca/1`, `azure-vm/1`, `azure-container-group/1`, or the name of a token. */
  readonly format: string
  readonly fields: { readonly [name: string]: Uint8Array | readonly Uint8Array[] | string }
}

/** A way to evidence that was found to be there. */
export interface EvidenceSource {
  readonly name: SourceName
  /** Bytes of the binding digest that its field carries: 64 (SHA-512), 48 (SHA-384) or 32 (SHA-256). */
  readonly bindingLength: 32 | 48 | 64
  /**
   * Fresh evidence over exactly `bindingLength` bytes (RangeError otherwise). Throws TeeError. What comes back carries
   * these bytes wherever its form shows them in the clear; nothing else about it has been verified.
   */
  collect(binding: Uint8Array): Promise<readonly EvidencePiece[]>
  /**
   * The field carries SHA-256 of the bytes, with zeros after it, and not the bytes: a daemon hashes what it is given.
   * A relying party has to compare with that; `openHardwareTee` refuses such a source.
   */
  readonly rehashes?: 'sha256'
  /** 16 or more secret bytes that only this measurement on this machine gets; absent where the TEE has none. */
  readonly sealingKey?: () => Promise<Uint8Array>
}

/** One thing that a driver looked at. */
export interface Attempt {
  /** A path, address or request, as an operator would look at it. */
  readonly what: string
  readonly found: string
}

export type Probe =
  | { readonly source: EvidenceSource; readonly attempts: readonly Attempt[] }
  | { readonly source: undefined; readonly attempts: readonly Attempt[]; readonly why: string }

/** One kind of source. Looking for it changes nothing and asks for no evidence. */
export interface SourceDriver {
  readonly name: SourceName
  /** One line for people. */
  readonly title: string
  probe(): Promise<Probe>
}

/** RangeError unless `binding` fills the field. */
export function requireLength(binding: Uint8Array, length: number): void {
  if (binding.length !== length) throw new RangeError(`binding: has ${binding.length} bytes, expected ${length}`)
}
