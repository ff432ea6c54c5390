import { createPublicKey, type KeyObject } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import { concatBytes, type Digest, decodeBase64url, decodeHex, encodeBase64url, FormatError } from '@cella/bytes'
import type { SignedDocument, Source } from '@cella/documents'
import { digestOf } from '@cella/primitives'
import { ReleaseError, verifyStatement } from '@cella/release'
import { errors, flattenedVerify } from 'jose'
import { gather } from './documents.ts'
import { SdkError } from './error.ts'
import { membersOf } from './organisations.ts'
import { fileDigest } from './sealing.ts'
import type { Session } from './session.ts'
import { type Logged, submitDocument } from './submit.ts'

/** A key that a deliverer may have signed with: DER SubjectPublicKeyInfo, and whose it is. */
export interface DelivererKey {
  readonly spki: Uint8Array
  readonly name: string
}

/** A deliverer's statement about a file, verified on this machine against the file. */
export type VerifiedSource = Pick<Source, 'original' | 'form' | 'statement' | 'key' | 'deliverer'>

/** A detached JWS is over the file itself, which has to be held whole. */
const jwsFileBytesMax = 256 * 2 ** 20
// RFC 8410 §4: all of a DER SubjectPublicKeyInfo before the 32 bytes of an Ed25519 key.
const ed25519Prefix = decodeHex('302a300506032b6570032100', 'SPKI')

/**
 * Verifies that one of `keys` signed `statement` about the file at `path`: an in-toto Statement v1 in a DSSE envelope, with
 * the file's SHA-256 among its subjects, or a detached JWS (RFC 7515 appendix F, RFC 7797) over the file. Throws SdkError ERR_SOURCE_REFUSED.
 */
export async function verifySource(
  path: string,
  { statement, keys }: { readonly statement: string; readonly keys: readonly DelivererKey[] },
): Promise<VerifiedSource> {
  const original = await fileDigest(path)
  const text = statement.trim()
  const problems: string[] = []
  const form = text.startsWith('{') ? 'in-toto' : 'jws'
  const file = form === 'jws' ? await jwsPayload(path) : undefined
  for (const { spki, name } of keys) {
    const problem =
      file === undefined ? inTotoProblem(text, { spki, original }) : await jwsProblem(text, { spki, file })
    if (problem === undefined) return { original, form, statement: text, key: encodeBase64url(spki), deliverer: name }
    problems.push(problem)
  }
  throw new SdkError(
    'ERR_SOURCE_REFUSED',
    `no statement about this file: ${[...new Set(problems)].join('; ') || 'there is no key'}`,
    {
      hint: 'compare the SHA-256 of the file with what was delivered, and the key with what the deliverer says; nothing was signed',
    },
  )
}

function inTotoProblem(statement: string, about: { spki: Uint8Array; original: Digest }): string | undefined {
  try {
    verifyStatement(statement, about)
    return undefined
  } catch (error) {
    if (error instanceof ReleaseError) return error.message
    throw error
  }
}

async function jwsPayload(path: string): Promise<Uint8Array> {
  const { size } = await stat(path)
  if (size <= jwsFileBytesMax) return readFile(path)
  throw new SdkError(
    'ERR_SOURCE_REFUSED',
    `a detached JWS over ${size} bytes is not verified, at most ${jwsFileBytesMax}`,
    {
      hint: 'ask the deliverer for an in-toto statement, which names the file by its SHA-256',
    },
  )
}

async function jwsProblem(
  statement: string,
  { spki, file }: { spki: Uint8Array; file: Uint8Array },
): Promise<string | undefined> {
  const [header, payload, signature, ...more] = statement.split('.')
  if (!header || payload !== '' || !signature || more.length > 0) {
    return 'it is neither an in-toto statement in a DSSE envelope nor a detached JWS (HEADER..SIGNATURE)'
  }
  try {
    const { b64 = true } = JSON.parse(new TextDecoder().decode(decodeBase64url(header, 'header'))) as { b64?: boolean }
    const key = publicKey(spki)
    const signed = b64 ? encodeBase64url(file) : file
    await flattenedVerify(
      { protected: header, payload: signed, signature },
      key,
      // Of the key alone: the header is the sender's.
      { algorithms: algorithmsOf(key) },
    )
    return undefined
  } catch (error) {
    const isTheirs =
      error instanceof errors.JOSEError ||
      error instanceof FormatError ||
      error instanceof SyntaxError ||
      error instanceof TypeError
    if (isTheirs) return `the JWS does not verify: ${error.message}`
    throw error
  }
}

/** The algorithms of RFC 7518 and RFC 9864 that a key is for. */
function algorithmsOf({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): string[] {
  if (asymmetricKeyType === 'ed25519') return ['EdDSA', 'Ed25519']
  const curves: Record<string, string> = { prime256v1: 'ES256', secp384r1: 'ES384', secp521r1: 'ES512' }
  const algorithm = curves[asymmetricKeyDetails?.namedCurve ?? '']
  return algorithm === undefined ? [] : [algorithm]
}

function publicKey(spki: Uint8Array): KeyObject {
  return createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' })
}

/** The key in a PEM text. Throws SdkError ERR_SOURCE_REFUSED. */
export function delivererKey(pem: string): DelivererKey {
  try {
    const spki = new Uint8Array(createPublicKey(pem).export({ format: 'der', type: 'spki' }))
    return { spki, name: `key ${digestOf(spki).slice(0, 16)}` }
  } catch (cause) {
    throw new SdkError('ERR_SOURCE_REFUSED', 'the deliverer’s key is no public key in PEM', { cause })
  }
}

/** The root keys and the accounts in force of an organisation, by the name that one trusts it under. */
export async function delivererKeysOf(
  session: Session,
  { organisation, name }: { readonly organisation: Digest; readonly name: string },
): Promise<DelivererKey[]> {
  const { documents } = await gather(session, { organisations: [organisation] })
  const { rootKeys } = documents.organisation(organisation).payload
  const members = membersOf(documents, organisation).map(({ payload }) => payload.signingKey)
  return [...rootKeys, ...members].map((key) => ({
    spki: concatBytes(ed25519Prefix, decodeBase64url(key, 'key')),
    name,
  }))
}

/** Signs and logs where an asset of one's own came from. */
export async function publishSource(
  session: Session,
  { manifest, source }: { manifest: SignedDocument<'cella/manifest'>; source: VerifiedSource },
): Promise<Logged<'cella/source'>> {
  const { account } = await session.keys()
  return submitDocument<'cella/source'>(
    session,
    {
      type: 'cella/source',
      version: 1,
      organisation: manifest.payload.organisation,
      signer: account.keyId,
      manifest: manifest.digest,
      ...source,
    },
    { signers: [account] },
  )
}
