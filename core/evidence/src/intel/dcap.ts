import { concatBytes, encodeHex, equalBytes } from '@cella/bytes'
import { sha256 } from '@cella/primitives'
import { EvidenceError, reading } from '../error.ts'
import type { VerifyContext } from '../family.ts'
import type { TrustedRoot } from '../roots.ts'
import { crlsOf } from '../x509/crl.ts'
import { type CertificatePath, type JudgedPath, judgePath } from '../x509/path.ts'
import { isQeReportSignedBy, isSigned, type PckChain, verifyPckChain } from './chain.ts'
import { type IntelCollateral, inForce, intelCollateralOf, signerOf } from './collateral.ts'
import type { EnclaveIdentity } from './enclave-identity.ts'
import type { SignedJson } from './json.ts'
import { type PckClaims, p256Spki } from './pck.ts'
import { type IntelQuote, parseIntelQuote } from './quote.ts'
import { checkQuotingEnclave, checkTdxModule, evaluateTcb, type TcbEvaluation } from './tcb.ts'
import type { TcbInfo } from './tcb-info.ts'

/** A genuine quote: its signatures lead from the body to a trusted root. Not yet acceptable to anyone. */
export interface VerifiedQuote {
  readonly quote: IntelQuote
  readonly pck: PckClaims
  readonly ca: PckChain['ca']
  /** The root that the chain ended at, as the caller described it. */
  readonly root: TrustedRoot
  /** `undefined` where TCB info or QE identity was not given: how current the firmware is, is not known. */
  readonly evaluation: TcbEvaluation | undefined
  /** `checked` where a CRL was given for every issuer of every certificate used. */
  readonly revocation: 'checked' | 'not-checked'
  /** Unix seconds in which all certificates and collateral used are valid, both inclusive. */
  readonly notBefore: number
  readonly notAfter: number
  /** When the oldest collateral used was issued. */
  readonly collateralIssuedAt: number | undefined
}

/** The checklist of docs/formats/evidence-intel.md. Throws EvidenceError at the first that fails. */
export async function verifyQuote(
  tee: 'sgx' | 'tdx',
  bytes: Uint8Array,
  context: VerifyContext,
): Promise<VerifiedQuote> {
  const { checks, endorsements } = context
  const quote = reading(() => parseIntelQuote(bytes))
  if (quote.body.kind !== tee) {
    throw new EvidenceError(
      'ERR_EVIDENCE_MALFORMED',
      `quote is of ${quote.body.kind.toUpperCase()}, the entry of ${tee.toUpperCase()}`,
    )
  }
  checks.passed(`${tee}-quote`, 'a quote of version 3 to 5 with nothing after its end', `version ${quote.version}`)

  const collateral = intelCollateralOf(endorsements)
  const { path, claims, ca } = await verifyPckChain(tee, quote, context, collateral)
  checks.passed(
    `${tee}-pck-chain`,
    'a PCK certificate whose chain ends at a trusted root',
    `${ca} CA, root ${path.root.spki}`,
  )
  const window = new Window(context, crlsOf(endorsements))
  await window.judge(path)
  checks.passed(`${tee}-pck-validity`, 'certificates in force')

  await checkSignatures(tee, quote, path, context)

  const identity = await identityOf(tee, { collateral, path, window, context })
  checkQuotingEnclave(tee, quote.qeReport, identity)
  checks.passed(`${tee}-quoting-enclave`, 'Intel’s quoting enclave, not in debug mode', `ISVSVN ${quote.qeReport.svn}`)
  const info = await tcbInfoOf(tee, claims, { collateral, path, window, context })
  if (quote.body.kind === 'tdx') {
    checkTdxModule(quote.body, info)
    checks.passed('tdx-module', 'a TDX module of Intel’s', `major version ${quote.body.teeTcbSvn[1]}`)
  }
  const evaluation = info && identity && evaluateTcb(quote.body, quote.qeReport, { claims, info, identity })
  if (evaluation) checks.passed(`${tee}-tcb`, 'a TCB that Intel rates', tcbText(evaluation))
  else checks.notApplicable(`${tee}-tcb`, 'the status can’t be evaluated without TCB info and QE identity')
  if (window.revocation === 'checked')
    checks.passed(`${tee}-revocation`, 'no certificate on its issuer’s revocation list')
  else checks.notApplicable(`${tee}-revocation`, 'the revocation list of at least one issuer was not given')
  return {
    quote,
    pck: claims,
    ca,
    root: path.root,
    evaluation,
    revocation: window.revocation,
    notBefore: window.notBefore,
    notAfter: window.notAfter,
    collateralIssuedAt: window.collateralIssuedAt,
  }
}

/** PCK key over the QE's report, QE's report over the attestation key, attestation key over the body. */
async function checkSignatures(
  tee: 'sgx' | 'tdx',
  quote: IntelQuote,
  path: CertificatePath,
  { checks }: VerifyContext,
): Promise<void> {
  if (!(await isQeReportSignedBy(path.certificates[0]!, quote))) {
    throw new EvidenceError('ERR_EVIDENCE_SIGNATURE', 'QE report is not signed by the key of the PCK certificate')
  }
  checks.passed(`${tee}-qe-signature`, 'a QE report signed by the key of the PCK certificate')
  const bound = sha256(concatBytes(quote.attestationKey, quote.qeAuthData))
  const found = quote.qeReport.reportData.subarray(0, 32)
  if (!equalBytes(found, bound)) {
    throw new EvidenceError(
      'ERR_EVIDENCE_BINDING',
      `QE report carries ${encodeHex(found)}, the digest of attestation key and authentication data is ${encodeHex(bound)}`,
    )
  }
  checks.passed(`${tee}-attestation-key`, 'an attestation key that the QE report carries the digest of')
  if (!(await isSigned(p256Spki(quote.attestationKey), quote.signed, quote.signature))) {
    throw new EvidenceError('ERR_EVIDENCE_SIGNATURE', 'quote is not signed by its attestation key')
  }
  checks.passed(`${tee}-signature`, 'a quote signed by its attestation key')
}

interface Sources {
  readonly collateral: IntelCollateral
  /** Of the PCK certificate. */
  readonly path: CertificatePath
  readonly window: Window
  readonly context: VerifyContext
}

async function identityOf(tee: 'sgx' | 'tdx', sources: Sources): Promise<EnclaveIdentity | undefined> {
  const id = tee === 'sgx' ? 'QE' : 'TD_QE'
  const { collateral, context } = sources
  const identities = collateral.identities.filter(({ statement }) => statement.id === id)
  const item = inForce(identities, context.now, `identity of ${id}`)
  if (item === undefined) {
    context.checks.notApplicable(
      `${tee}-qe-identity`,
      'no QE identity was given; the enclave’s signer is compared with Intel’s known one',
    )
    return undefined
  }
  await checkStatement(item, `identity of ${id}`, sources)
  context.checks.passed(`${tee}-qe-identity`, 'a QE identity in force, signed by Intel', statementText(item.statement))
  return item.statement
}

async function tcbInfoOf(tee: 'sgx' | 'tdx', claims: PckClaims, sources: Sources): Promise<TcbInfo | undefined> {
  const { collateral, context } = sources
  const infos = collateral.tcbInfos.filter(
    ({ statement }) => statement.tee === tee && statement.fmspc === claims.fmspc && statement.pceId === claims.pceId,
  )
  const item = inForce(infos, context.now, `TCB info of ${claims.fmspc}`)
  if (item === undefined) {
    context.checks.notApplicable(
      `${tee}-tcb-info`,
      `no TCB info of FMSPC ${claims.fmspc}, PCE ${claims.pceId} was given`,
    )
    return undefined
  }
  await checkStatement(item, `TCB info of ${claims.fmspc}`, sources)
  context.checks.passed(`${tee}-tcb-info`, 'a TCB info in force, signed by Intel', statementText(item.statement))
  return item.statement
}

async function checkStatement(
  item: SignedJson<TcbInfo | EnclaveIdentity>,
  name: string,
  { collateral, path, window }: Sources,
): Promise<void> {
  await window.judge(await signerOf(item, { collateral, root: path.root, name }))
  window.add(item.statement)
}

function statementText({ evaluation }: TcbInfo | EnclaveIdentity): string {
  return `evaluation ${evaluation}`
}

function tcbText({ status, advisories }: TcbEvaluation): string {
  return advisories.length === 0 ? status : `${status} (${advisories.join(', ')})`
}

/** The time in which everything that was used is valid, gathered as it is judged. */
class Window {
  notBefore = Number.NEGATIVE_INFINITY
  notAfter = Number.POSITIVE_INFINITY
  revocation: JudgedPath['revocation'] = 'checked'
  collateralIssuedAt: number | undefined
  readonly #now: number
  readonly #crls: ReturnType<typeof crlsOf>
  readonly #judged: CertificatePath[] = []

  constructor({ now }: VerifyContext, crls: ReturnType<typeof crlsOf>) {
    this.#now = now
    this.#crls = crls
  }

  /** Validity and revocation of a path; the signer of several statements is judged once. */
  async judge(path: CertificatePath): Promise<void> {
    const [leaf] = path.certificates
    if (this.#judged.some(({ certificates, root }) => certificates[0] === leaf && root === path.root)) return
    this.#judged.push(path)
    const judged = await judgePath(path, { now: this.#now, crls: this.#crls, revocation: 'if-given' })
    if (judged.revocation === 'not-checked') this.revocation = 'not-checked'
    this.#narrow(judged.notBefore, judged.notAfter, judged.collateralIssuedAt)
  }

  add({ issuedAt, nextUpdate }: { issuedAt: number; nextUpdate: number }): void {
    this.#narrow(issuedAt, nextUpdate, issuedAt)
  }

  #narrow(notBefore: number, notAfter: number, issuedAt: number | undefined): void {
    this.notBefore = Math.max(this.notBefore, notBefore)
    this.notAfter = Math.min(this.notAfter, notAfter)
    if (issuedAt !== undefined) this.collateralIssuedAt = Math.min(this.collateralIssuedAt ?? issuedAt, issuedAt)
  }
}
