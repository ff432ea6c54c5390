import { createPublicKey, type KeyObject, verify } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { type Figure, sharedPath, threadCpuMs } from '@cella/testing'
import { QuoteVerifier } from '@phala/dcap-qvl'
import { ChainCache } from '../src/cache.ts'
import { CheckLog } from '../src/checks.ts'
import { Endorsements } from '../src/endorsements.ts'
import type { VerifyContext } from '../src/family.ts'
import { p256Spki } from '../src/intel/pck.ts'
import { parseIntelQuote } from '../src/intel/quote.ts'
import { intelEndorsementsOf, intelEvidenceOf, intelEvidenceOfText } from '../src/intel/readers.ts'
import { intelRoots } from '../src/intel/roots.ts'
import { verifySgx, verifyTdx } from '../src/intel/verify.ts'
import { parseCertificate } from '../src/x509/certificate.ts'
import { parsePemCertificates } from '../src/x509/pem.ts'
import { collateralJson, issueChain, issueSgx, issueTdx, now, roots } from '../test/intel-vendor.ts'
import { memoryFigure } from './memory.ts'

const warmUps = 500
const rounds = 20
// Long enough for a clock that counts in milliseconds.
const verificationsPerRound = 200
const peerVerificationsPerRound = 10

type Entry = ReturnType<typeof intelEvidenceOf>

interface Case {
  readonly name: 'SGX' | 'TDX'
  readonly entry: Entry
  /** As the peer and Intel's library have it. */
  readonly collateral: Uint8Array
  readonly now: number
  readonly roots: VerifyContext['roots']
  readonly peer: QuoteVerifier
}

/** Real quotes with their collateral where the shared vectors are at hand, else ones of our own making. */
async function cases(): Promise<Case[]> {
  const real = [
    { name: 'SGX', path: 'vectors/sgx/dcap-qvl-confighardening', quote: 'quote.bin', at: '2025-06-20T10:56:11Z' },
    { name: 'TDX', path: 'vectors/tdx/v4-near-uptodate', quote: 'quote_hex.txt', at: '2025-09-03T07:41:59Z' },
  ] as const
  if (real.every(({ path }) => existsSync(sharedPath(path)))) {
    return real.map(({ name, path, quote, at }) => {
      const bytes = readFileSync(sharedPath(`${path}/${quote}`))
      return {
        name,
        entry: quote.endsWith('.txt') ? intelEvidenceOfText(bytes.toString()) : intelEvidenceOf(bytes),
        collateral: readFileSync(sharedPath(`${path}/collateral.json`)),
        now: Date.parse(at) / 1000,
        roots: intelRoots,
        peer: QuoteVerifier.newProd(),
      }
    })
  }
  const { root } = await issueChain()
  const peer = QuoteVerifier.newWithRootCa(Buffer.from(root))
  const own = { now, roots, peer }
  return [
    { ...own, name: 'SGX', entry: await issueSgx(), collateral: await collateralJson('sgx') },
    { ...own, name: 'TDX', entry: await issueTdx(), collateral: await collateralJson('tdx') },
  ]
}

/** The two verifications that each quote needs: the PCK key's over the QE report, the attestation key's over the body. */
function bareOf(entry: Entry): () => void {
  const quote = parseIntelQuote(entry.quote)
  if (quote.certification.kind !== 'pem') throw new Error('the quote has no chain')
  const pem = new TextDecoder().decode(quote.certification.pem).replace(/\0$/, '')
  const pck = parseCertificate(parsePemCertificates(pem, 'chain')[0]!, 'PCK')
  const keyOf = (spki: Uint8Array): KeyObject =>
    createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' })
  const pairs = [
    [quote.qeReportBytes, keyOf(pck.spki), quote.qeReportSignature],
    [quote.signed, keyOf(p256Spki(quote.attestationKey)), quote.signature],
  ] as const
  return () => {
    for (const [signed, key, signature] of pairs) {
      if (!verify('sha256', signed, { key, dsaEncoding: 'ieee-p1363' }, signature)) {
        throw new Error('bare verification failed')
      }
    }
  }
}

/**
 * Verification of a quote with its collateral in memory and its chain in the cache: against the bare ECDSA P-256
 * verifications that it needs, by node:crypto with imported keys, and against @phala/dcap-qvl on the same quote and
 * collateral. Rounds of the three alternate; each side's best round counts, in CPU time of the one thread on which all of it runs.
 */
export async function bench(report: (figure: Figure) => void): Promise<void> {
  for (const one of await cases()) {
    const endorsements = new Endorsements(intelEndorsementsOf(one.collateral))
    const cache = new ChainCache()
    const whole = async (): Promise<void> => {
      const context = { roots: one.roots, issuers: [], endorsements, now: one.now, cache, checks: new CheckLog() }
      const { claims } = await (one.entry.format === 'sgx/1'
        ? verifySgx(one.entry, context)
        : verifyTdx(one.entry, context))
      if (claims.tcb.status === null) throw new Error('the TCB was not rated')
    }
    const bare = bareOf(one.entry)
    const collateral = JSON.parse(new TextDecoder().decode(one.collateral))
    const quote = Buffer.from(one.entry.quote)
    const peer = (): void => void one.peer.verify(quote, collateral, one.now)
    const best = { whole: Number.POSITIVE_INFINITY, bare: Number.POSITIVE_INFINITY, peer: Number.POSITIVE_INFINITY }
    for (let count = 0; count < warmUps; count++) {
      await whole()
      bare()
    }
    for (let round = 0; round < rounds; round++) {
      const start = threadCpuMs()
      for (let count = 0; count < verificationsPerRound; count++) await whole()
      const middle = threadCpuMs()
      for (let count = 0; count < verificationsPerRound; count++) bare()
      const end = threadCpuMs()
      best.whole = Math.min(best.whole, (middle - start) / verificationsPerRound)
      best.bare = Math.min(best.bare, (end - middle) / verificationsPerRound)
      for (let count = 0; count < peerVerificationsPerRound; count++) peer()
      best.peer = Math.min(best.peer, (threadCpuMs() - end) / peerVerificationsPerRound)
    }
    const bench = `${one.name} verification, collateral cached`
    const bareRatio = best.whole / best.bare
    report({
      bench,
      value: best.whole,
      unit: 'ms',
      against: 'two ECDSA P-256 verifications by node:crypto',
      ratio: bareRatio,
      target: 1.5,
      met: bareRatio <= 1.5,
    })
    const peerRatio = best.peer / best.whole
    report({
      bench: `${bench}: times faster than the peer`,
      value: best.peer,
      unit: 'ms (peer)',
      against: '@phala/dcap-qvl 0.3.9 on the same quote and collateral',
      ratio: peerRatio,
      target: 8,
      met: peerRatio >= 8,
    })
    report(await memoryFigure(bench, whole))
  }
}
