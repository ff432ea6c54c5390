export const endorsementKinds = [
  /** DER certificate: an intermediate, a VCEK, a signing chain. */
  'certificate',
  /** DER CRL (RFC 5280 §5). */
  'crl',
  /** The exact JSON bytes of Intel's TCB info answer (`{"tcbInfo":…,"signature":…}`). */
  'tcb-info',
  /** The same for QE and TD QE identities (`{"enclaveIdentity":…,"signature":…}`). */
  'enclave-identity',
  /** DER SubjectPublicKeyInfo of a device key that is known by its digest only: Arm, TPM. */
  'public-key',
  /** XML of a reference integrity manifest. */
  'rim',
  /** DER OCSP response. */
  'ocsp',
] as const

/** What vendors and providers publish about hardware. Untrusted bytes until a verification has checked them. */
export type EndorsementKind = (typeof endorsementKinds)[number]

export interface Endorsement {
  readonly kind: EndorsementKind
  readonly content: Uint8Array
}

/** A fixed set of endorsements. Keeps copies, so that what was parsed once under an entry's identity stays true. */
export class Endorsements {
  static readonly none: Endorsements = new Endorsements([])
  readonly #byKind = new Map<EndorsementKind, Endorsement[]>()

  constructor(list: readonly Endorsement[]) {
    for (const { kind, content } of list) {
      const copy = Object.freeze({ kind, content: Uint8Array.from(content) })
      this.#byKind.set(kind, [...(this.#byKind.get(kind) ?? []), copy])
    }
  }

  all(kind: EndorsementKind): readonly Endorsement[] {
    return this.#byKind.get(kind) ?? []
  }

  /** These and `more`. */
  with(more: readonly Endorsement[]): Endorsements {
    return more.length === 0 ? this : new Endorsements([...[...this.#byKind.values()].flat(), ...more])
  }
}
