import { verifyCoseSign1 } from '../cose/sign1.ts'
import { EvidenceError, reading } from '../error.ts'
import type { VerifiedEntry, VerifyContext } from '../family.ts'
import type { TrustedRoot } from '../roots.ts'
import { crlsOf } from '../x509/crl.ts'
import { type CertificatePath, judgePath, timeText } from '../x509/path.ts'
import { nitroPath } from './chain.ts'
import { type NitroClaims, nitroClaims } from './claims.ts'
import { type NitroDocument, nitroDocumentBytesMax, parseNitroDocument } from './document.ts'
import type { NitroEntry } from './entry.ts'
import { commonName } from './names.ts'

/** A genuine AWS Nitro attestation document. Not yet acceptable to anyone. */
export interface VerifiedNitro extends VerifiedEntry {
  readonly format: 'nitro/1'
  readonly root: TrustedRoot
  readonly claims: NitroClaims
  readonly document: NitroDocument
}

/** Steps 1 to 5 of the checklist in docs/formats/evidence-nitro.md. Throws EvidenceError at the first that fails. */
export async function verifyNitro(entry: NitroEntry, context: VerifyContext): Promise<VerifiedNitro> {
  const { checks, now } = context
  // One copy for parsing and for the signature: what is checked later is what was read.
  const bytes = Uint8Array.from(entry.document.subarray(0, nitroDocumentBytesMax + 1))
  const { message, document } = reading(() => parseNitroDocument(bytes))
  checks.passed(
    'nitro-document',
    'a COSE_Sign1 (ES384) of an attestation document with PCR0',
    `${document.pcrs.size} registers of ${document.moduleId}`,
  )
  const path = await nitroPath(document, context)
  checks.passed(
    'nitro-chain',
    'a certificate whose chain ends at a trusted root',
    `${path.certificates.length} certificates to root ${path.root.spki}`,
  )
  const judged = await judgePath(path, { now, crls: crlsOf(context.endorsements), revocation: 'if-given' })
  checks.passed('nitro-validity', `certificates valid at ${timeText(now)}`)
  if (judged.collateralIssuedAt === undefined) {
    checks.notApplicable(
      'nitro-revocation',
      'no revocation list of an issuer was given; AWS asks for none (certificates live for hours)',
    )
  } else {
    checks.passed(
      'nitro-revocation',
      'no certificate on a list that was given',
      `lists since ${timeText(judged.collateralIssuedAt)}`,
    )
  }
  if (!(await verifyCoseSign1(message, path.certificates[0]!.spki))) {
    throw new EvidenceError('ERR_EVIDENCE_SIGNATURE', 'document is not signed by the key of its certificate')
  }
  checks.passed('nitro-signature', 'a document signed by the key of its certificate')
  const { root } = path
  return {
    format: 'nitro/1',
    role: entry.role,
    claims: nitroClaims({ role: entry.role, simulated: root.simulated, document, ...placeOf(path, document) }),
    root,
    simulated: root.simulated,
    notBefore: judged.notBefore,
    notAfter: judged.notAfter,
    collateralIssuedAt: judged.collateralIssuedAt,
    verifiedAt: now,
    document,
  }
}

/** Partition and region in the names that AWS certified: `CN=aws.nitro-enclaves`, `CN=<module id>.<region>.<partition>`. */
function placeOf(path: CertificatePath, { moduleId }: NitroDocument): { partition?: string; region?: string } {
  return reading(() => {
    const [leaf, root] = [path.certificates[0]!, path.certificates.at(-1)!]
    const partition = /^([a-z0-9-]+)\.nitro-enclaves$/.exec(commonName(root.subject) ?? '')?.[1]
    if (partition === undefined) return {}
    const name = commonName(leaf.subject) ?? ''
    const [before, after] = [`${moduleId}.`, `.${partition}`]
    if (!name.startsWith(before) || !name.endsWith(after)) return { partition }
    const region = name.slice(before.length, -after.length)
    return /^[a-z0-9-]+$/.test(region) ? { partition, region } : { partition }
  })
}
