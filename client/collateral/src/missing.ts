import { type CollateralNeed, describeCollateral, type Endorsement } from '@cella/evidence'

/** The needs that `held` does not answer until `margin` seconds after `now`. A manifest has no end; certificates are needs as long as they are named. */
export function missingCollateral(
  needs: readonly CollateralNeed[],
  held: readonly Endorsement[],
  { now, margin }: { now: number; margin: number },
): readonly CollateralNeed[] {
  const descriptions = held.map(describeCollateral)
  return needs.filter(
    (need) =>
      !descriptions.some(
        ({ kind, subject, notAfter }) =>
          isAnswer(need, subject) && (kind === 'rim' || (notAfter !== undefined && notAfter >= now + margin)),
      ),
  )
}

function isAnswer({ path, form, subject: wanted }: CollateralNeed, subject: string): boolean {
  if (wanted !== undefined) return subject.startsWith(wanted)
  const [, fmspc] = /[?&]fmspc=([0-9a-f]+)/.exec(path) ?? []
  const tee = path.startsWith('/tdx/') ? 'TDX' : 'SGX'
  switch (form) {
    case 'tcb-info':
      return subject.startsWith('TCB info') && subject.endsWith(`of ${tee} FMSPC ${fmspc}`)
    case 'enclave-identity':
      return subject.endsWith(tee === 'TDX' ? ' of TD_QE' : ' of QE')
    case 'der-crl': {
      const [, product] = /^\/(?:vcek|vlek)\/v1\/([A-Za-z]+)\/crl$/.exec(path) ?? []
      if (product !== undefined) return subject === `CRL of ARK-${product}`
      if (path === '/IntelSGXRootCA.der') return subject === 'CRL of Intel SGX Root CA'
      return subject === `CRL of Intel SGX PCK ${path.includes('ca=platform') ? 'Platform' : 'Processor'} CA`
    }
    default:
      return false
  }
}
