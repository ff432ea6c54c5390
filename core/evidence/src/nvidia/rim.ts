// The entry `@cella/evidence/nvidia-rim`: NVIDIA's devices with their reference integrity manifests. Apart from the main
// entry, since it brings an XML parser.
import { encodeHex } from '@cella/bytes'
import type { Endorsements } from '../endorsements.ts'
import { EvidenceError, type EvidenceErrorCode, reading } from '../error.ts'
import type { VerifyContext } from '../family.ts'
import { crlsOf } from '../x509/crl.ts'
import { buildPath, judgePath } from '../x509/path.ts'
import { makeNvidiaFamily, type NvidiaFamily } from './family.ts'
import { judgeByOcsp, ocspResponsesOf } from './ocsp.ts'
import { type RimDocument, readRim } from './rim-document.ts'
import type { VerifiedRim, WantedRims } from './rims.ts'

const rimCountMax = 64

const read = new WeakMap<Endorsements, Promise<readonly RimDocument[]>>()

/** The manifests among `endorsements`, their own signatures verified; read once for each set. */
function documentsOf(endorsements: Endorsements): Promise<readonly RimDocument[]> {
  const known = read.get(endorsements)
  if (known) return known
  const documents = readAll(endorsements)
  read.set(endorsements, documents)
  return documents
}

async function readAll(endorsements: Endorsements): Promise<RimDocument[]> {
  const list = endorsements.all('rim')
  if (list.length > rimCountMax) {
    throw new EvidenceError('ERR_EVIDENCE_COLLATERAL_INVALID', `rim: there are ${list.length}, at most ${rimCountMax}`)
  }
  const documents: RimDocument[] = []
  for (const [at, { content }] of list.entries()) {
    try {
      documents.push(await readRim(content, `rim[${at}]`))
    } catch (cause) {
      throw collateralError(cause)
    }
  }
  return documents
}

/** What is wrong with a manifest is wrong with collateral, not with the device's evidence. */
function collateralError(cause: unknown): unknown {
  let error = cause
  try {
    reading(() => {
      throw cause
    })
  } catch (mapped) {
    error = mapped
  }
  if (!(error instanceof EvidenceError)) return error
  const codes: { readonly [Code in EvidenceErrorCode]?: EvidenceErrorCode } = {
    ERR_EVIDENCE_MALFORMED: 'ERR_EVIDENCE_COLLATERAL_INVALID',
    ERR_EVIDENCE_SIGNATURE: 'ERR_EVIDENCE_COLLATERAL_INVALID',
    ERR_EVIDENCE_CHAIN: 'ERR_EVIDENCE_COLLATERAL_INVALID',
    ERR_EVIDENCE_EXPIRED: 'ERR_EVIDENCE_COLLATERAL_EXPIRED',
    ERR_EVIDENCE_NOT_YET_VALID: 'ERR_EVIDENCE_COLLATERAL_EXPIRED',
  }
  const code = codes[error.code]
  return code === undefined ? error : new EvidenceError(code, error.message, { cause: error })
}

/**
 * The manifests of `wanted` among the endorsements: signed, and their signers' chains sound, in force, not revoked where
 * OCSP or a CRL says anything, and ending at a root of `nvidia-rim`. Others are not judged.
 */
export async function readRims(context: VerifyContext, wanted: WantedRims): Promise<VerifiedRim[]> {
  const documents = await documentsOf(context.endorsements)
  const versions = new Set(wanted.versions.map((version) => version.toUpperCase()))
  const verified: VerifiedRim[] = []
  for (const version of versions) {
    const editions = documents.filter(
      (document) => document.product === wanted.product && document.version.toUpperCase() === version,
    )
    const found = await editionInForce(editions, context)
    if (found !== undefined) verified.push(found)
  }
  return verified
}

/**
 * NVIDIA signs a release anew when its signer's certificate ends, so that an edition that is over counts for nothing
 * beside one in force. Editions in force that say different things are doubt: ERR_EVIDENCE_COLLATERAL_INVALID.
 */
async function editionInForce(
  editions: readonly RimDocument[],
  context: VerifyContext,
): Promise<VerifiedRim | undefined> {
  let found: VerifiedRim | undefined
  let late: EvidenceError | undefined
  for (const document of editions) {
    try {
      const edition = await verifySigner(document, context)
      if (found !== undefined && measurementsText(found) !== measurementsText(edition)) {
        const problem = `two manifests of ${edition.product} ${edition.version} list different measurements; give one of them`
        throw new EvidenceError('ERR_EVIDENCE_COLLATERAL_INVALID', problem)
      }
      found ??= edition
    } catch (cause) {
      const error = collateralError(cause)
      if (!(error instanceof EvidenceError) || error.code !== 'ERR_EVIDENCE_COLLATERAL_EXPIRED') throw error
      late ??= error
    }
  }
  if (found === undefined && late !== undefined) throw late
  return found
}

function measurementsText({ measurements }: VerifiedRim): string {
  const lines = [...measurements].map(([index, values]) => [index, values.map(encodeHex).sort().join()] as const)
  return lines
    .sort(([a], [b]) => a - b)
    .map((line) => line.join(' '))
    .join('\n')
}

async function verifySigner(document: RimDocument, context: VerifyContext): Promise<VerifiedRim> {
  const { product, version, measurements, certificates } = document
  const name = `signer of the manifest of ${product} ${version}`
  const [leaf, ...pool] = certificates
  const { roots, now, endorsements } = context
  const path = await buildPath(leaf!, { tee: 'nvidia-rim', roots, pool, name })
  const judged = await judgePath(path, { now, crls: crlsOf(endorsements), revocation: 'if-given' })
  const ocsp = await judgeByOcsp(path.certificates, { responses: ocspResponsesOf(endorsements), now, name })
  const issued = [judged.collateralIssuedAt, ocsp.issuedAt].filter((date) => date !== undefined)
  return {
    product,
    version,
    measurements,
    simulated: path.root.simulated,
    notBefore: Math.max(judged.notBefore, ocsp.notBefore),
    notAfter: Math.min(judged.notAfter, ocsp.notAfter),
    collateralIssuedAt: issued.length === 0 ? undefined : Math.min(...issued),
  }
}

/** NVIDIA GPUs and NVSwitches, compared with the manifests of their driver and VBIOS among the endorsements. */
export const nvidiaFamilyWithRims: NvidiaFamily = makeNvidiaFamily(readRims)
