import { concatBytes, FormatError, uint32Bytes } from '@cella/bytes'
import { digestOf } from '@cella/primitives'
import { EvidenceError, reading } from '../error.ts'
import type { VerifyContext } from '../family.ts'
import { basicConstraints, mayUseKeyFor, parseCertificate } from '../x509/certificate.ts'
import { buildPath, type CertificatePath } from '../x509/path.ts'
import type { NitroDocument } from './document.ts'

const leafName = 'Nitro enclave certificate'

/**
 * The path from the certificate of a document to a trusted root, as attestation_process.md §3.2.3 wants it: every
 * signature, CA flag, right to sign and path length, and a leaf that may sign and is no CA. Times have not been judged.
 * A path that was built before comes from the cache: the certificate of an enclave lives for three hours and signs many
 * documents.
 */
export async function nitroPath(
  { certificate, cabundle }: NitroDocument,
  { roots, cache }: Pick<VerifyContext, 'roots' | 'cache'>,
): Promise<CertificatePath> {
  const trusted = roots.filter(({ tee }) => tee === 'nitro')
  // The root that a path ends at depends on which are trusted, so they are part of what it is kept under.
  const rootsKey = trusted.map(({ spki, simulated }) => `${spki}${simulated ? ' simulated' : ''}`).join()
  const key =
    cache &&
    `${rootsKey}/${digestOf(concatBytes(...[certificate, ...cabundle].flatMap((der) => [uint32Bytes(der.length), der])))}`
  const known = key === undefined ? undefined : (cache?.find('nitro-path', key) as CertificatePath | undefined)
  if (known) return known
  const leaf = reading(() => parseCertificate(certificate, 'document.certificate'))
  const pool = cabundle.map((der, at) => reading(() => parseCertificate(der, `document.cabundle[${at}]`)))
  checkLeaf(leaf)
  const path = await buildPath(leaf, { tee: 'nitro', roots: trusted, pool, name: leafName })
  if (key !== undefined) cache?.add('nitro-path', key, path)
  return path
}

/** §3.2.3.3: digitalSignature is there, no path length, and so no CA. */
function checkLeaf(leaf: Parameters<typeof basicConstraints>[0]): void {
  try {
    const constraints = basicConstraints(leaf)
    if (constraints?.ca || constraints?.pathLength !== undefined) throw new FormatError(leafName, 'is that of a CA')
    if (!mayUseKeyFor(leaf, 'digitalSignature')) throw new FormatError(leafName, 'may not sign (keyUsage)')
  } catch (cause) {
    if (cause instanceof FormatError) throw new EvidenceError('ERR_EVIDENCE_CHAIN', cause.message, { cause })
    throw cause
  }
}
