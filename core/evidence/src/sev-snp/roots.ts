import { parseDigest } from '@cella/bytes'
import type { SnpRoot } from '../roots.ts'
import type { SnpProduct } from './product.ts'

// SHA-256 of the SubjectPublicKeyInfo of AMD's root keys (ARK), from the chains that AMD's key distribution service
// gives out at https://kdsintf.amd.com/vcek/v1/{Milan,Genoa,Turin}/cert_chain; google/go-sev-guest
// `verify/trust/ask_ark_*.pem` at af1c107 has the same. VCEK and VLEK chains end at the same root.
const arks: readonly (readonly [SnpProduct, string])[] = [
  ['Milan', '9f056bee44377e29308cb5ffa895bdfb62d18881fa6bed8d6f075b0204089cb9'],
  ['Genoa', '429a69c9422aa258ee4d8db5fcda9c6470ef15f8cd5a9cebd6cbc7d90b863831'],
  ['Turin', '4f125410563a2ab9a50356f9243f6fe0b6f73de98603f53f90339c70e9d7ad08'],
]

/** AMD's roots. Venice has none yet: its reports are read, and end as ERR_EVIDENCE_ROOT_UNKNOWN. */
export const amdRoots: readonly SnpRoot[] = Object.freeze(
  arks.map(([product, spki]) =>
    Object.freeze({ tee: 'sev-snp' as const, product, spki: parseDigest(spki, `ARK-${product}`), simulated: false }),
  ),
)
