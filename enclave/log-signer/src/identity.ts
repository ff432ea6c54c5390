import { type Digest, decodeBase64url, encodeHex } from '@cella/bytes'
import {
  type Build,
  DocumentError,
  type Payload,
  parseDocumentOf,
  type SignedDocument,
  verifyDocument,
} from '@cella/documents'
import {
  bindingDigestOf,
  ChainCache,
  EvidenceError,
  encodeSignerStatement,
  parseSignerStatement,
  type SignerBinding,
  type SignerStatement,
  type TrustedRoot,
  type VerifiedEvidence,
  verifyEvidence,
} from '@cella/evidence'
import { keyIdOf } from '@cella/primitives'
import type { TeeDriver } from '@cella/tee'
import { SignerError } from './error.ts'

/** What this code is, and to which other code its key may pass. */
export class Identity {
  readonly #tee: TeeDriver
  readonly #configuration: Digest
  readonly #build: SignedDocument<'cella/build'>
  readonly #builder: { readonly digest: Digest; readonly payload: Payload<'cella/organisation'> }
  readonly #roots: readonly TrustedRoot[]

  private constructor(parts: {
    tee: TeeDriver
    configuration: Digest
    build: SignedDocument<'cella/build'>
    builder: { readonly digest: Digest; readonly payload: Payload<'cella/organisation'> }
    roots: readonly TrustedRoot[]
  }) {
    this.#tee = parts.tee
    this.#configuration = parts.configuration
    this.#build = parts.build
    this.#builder = parts.builder
    this.#roots = parts.roots
  }

  /** Throws ERR_SIGNER_BUILD where the Build document is not the builder's, or does not name this code. */
  static async open(
    tee: TeeDriver,
    options: { configuration: Digest; build: string; builder: string; roots: readonly TrustedRoot[] },
  ): Promise<Identity> {
    const { configuration, roots } = options
    const builder = documentOf(() => parseDocumentOf('cella/organisation', options.builder))
    if (builder.payload.revision !== 1)
      throw new SignerError('ERR_SIGNER_BUILD', 'a builder is named by its revision 1')
    const build = await buildOf(options.build, builder.payload, builder.digest)
    const { measurement } = tee.describe()
    // Hardware does not tell before evidence does; then whoever reads the statement compares.
    if (measurement !== null && !build.payload.measurements.some((known) => known.measurement === measurement)) {
      throw new SignerError('ERR_SIGNER_BUILD', `the Build document does not name this code, measured ${measurement}`)
    }
    return new Identity({ tee, configuration, build, builder, roots })
  }

  /** A statement with fresh evidence, bound to the key. */
  async state(about: Pick<SignerBinding, 'vkey' | 'number' | 'previous' | 'handover'>): Promise<Uint8Array> {
    const binding: SignerBinding = {
      role: 'log-signer',
      configuration: this.#configuration,
      builder: this.#builder.digest,
      ...about,
    }
    const digest = bindingDigestOf({ ...binding }, this.#tee.bindingLength)!
    return encodeSignerStatement({
      binding,
      evidence: await this.#tee.getEvidence(digest),
      build: this.#build.envelope,
    })
  }

  /**
   * The statement, if it is by the evidence of code that the builder released, in the same kind of TEE as this one and
   * under a root of the configuration. Throws ERR_SIGNER_SUCCESSOR, ERR_SIGNER_BUILD.
   */
  async verifySuccessor(
    bytes: Uint8Array,
    expected: Pick<SignerBinding, 'vkey' | 'number' | 'previous'>,
  ): Promise<SignerStatement> {
    let statement: SignerStatement
    let verified: VerifiedEvidence
    try {
      statement = parseSignerStatement(bytes)
      // The host's clock. An old certificate is no danger here: the Build document decides, and the entry is public.
      const now = Math.floor(Date.now() / 1000)
      verified = await verifyEvidence(statement.evidence, { roots: this.#roots, now, cache: new ChainCache() })
    } catch (cause) {
      if (!(cause instanceof EvidenceError)) throw cause
      throw new SignerError('ERR_SIGNER_SUCCESSOR', `its evidence is not genuine: ${cause.message}`, { cause })
    }
    const { binding } = statement
    for (const name of ['vkey', 'number', 'previous'] as const) {
      if (binding[name] !== expected[name]) {
        throw new SignerError('ERR_SIGNER_SUCCESSOR', `its ${name} is ${binding[name]}, expected ${expected[name]}`)
      }
    }
    const { claims } = verified
    const bound = bindingDigestOf({ ...binding }, (claims.reportData ?? '').length / 2)
    if (bound === undefined || encodeHex(bound) !== claims.reportData) {
      throw new SignerError('ERR_SIGNER_SUCCESSOR', 'its evidence is of another statement')
    }
    const own = this.#tee.describe()
    if (claims.debug || claims.tee !== own.tee || verified.simulated !== own.simulated) {
      throw new SignerError(
        'ERR_SIGNER_SUCCESSOR',
        `it runs in ${claims.tee}${claims.debug ? ' in debug mode' : ''}, not in a TEE like this one`,
      )
    }
    const build = await buildOf(statement.build, this.#builder.payload, this.#builder.digest)
    if (!build.payload.measurements.some((known) => names(known, verified))) {
      throw new SignerError(
        'ERR_SIGNER_BUILD',
        `its Build document does not name its code, measured ${claims.measurement}`,
      )
    }
    return statement
  }
}

function names(known: Build['measurements'][number], { claims, simulated }: VerifiedEvidence): boolean {
  return (
    known.tee === claims.tee &&
    known.boundary === claims.boundary &&
    known.simulated === simulated &&
    known.measurement === claims.measurement &&
    (known.hostData === undefined || known.hostData === claims.hostData) &&
    Object.entries(known.registers ?? {}).every(([name, value]) => claims.measurements[name] === value)
  )
}

/** A Build document for a log signer that the builder's root keys signed. */
async function buildOf(
  envelope: string,
  builder: Payload<'cella/organisation'>,
  id: Digest,
): Promise<SignedDocument<'cella/build'>> {
  const parsed = documentOf(() => parseDocumentOf('cella/build', envelope))
  const { role, organisation } = parsed.payload
  if (role !== 'log-signer' || organisation !== id) {
    throw new SignerError('ERR_SIGNER_BUILD', `the Build document is of a ${role} of ${organisation}`)
  }
  const keys = new Map(
    builder.rootKeys.map((key) => decodeBase64url(key, 'rootKeys')).map((key) => [keyIdOf(key), key]),
  )
  if (new Set(parsed.signers).size < builder.threshold) {
    throw new SignerError('ERR_SIGNER_BUILD', `${builder.threshold} keys of the builder have to sign`)
  }
  try {
    return await verifyDocument(parsed, (signer) => keys.get(signer))
  } catch (cause) {
    if (!(cause instanceof DocumentError)) throw cause
    throw new SignerError('ERR_SIGNER_BUILD', cause.message, { cause })
  }
}

function documentOf<T>(parse: () => T): T {
  try {
    return parse()
  } catch (cause) {
    if (!(cause instanceof DocumentError)) throw cause
    throw new SignerError('ERR_SIGNER_BUILD', cause.message, { cause })
  }
}
