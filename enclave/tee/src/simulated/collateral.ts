import type { Endorsement } from '@cella/evidence'
import { intermediateSerials, issueArkCrl } from '@cella/evidence/sev-snp-issue'
import { simulatedIntelCollateral } from './intel.ts'
import { certificateSigner } from './keys.ts'
import { readSimulatedLevels } from './levels.ts'
import type { SimulatedTee } from './options.ts'
import { readSimulatedPlatform } from './platform.ts'
import { openSimulatedVendors } from './vendors.ts'

const day = 86_400

/**
 * What the simulated vendor of `tee` publishes as of `now` (unix seconds): AMD its revocation list, Intel all that a
 * quote needs, AWS nothing. A verifier's store gets it here, as from AMD's KDS or Intel's PCS. Throws TeeError.
 */
export async function simulatedCollateral(
  folder: string,
  tee: SimulatedTee,
  now: number = Date.now() / 1000,
): Promise<readonly Endorsement[]> {
  const levels = await readSimulatedLevels(folder)
  switch (tee) {
    case 'sev-snp': {
      const { product, ark } = await readSimulatedPlatform(folder)
      const thisUpdate = Math.floor(now) - 3600
      const content = await issueArkCrl({
        product,
        thisUpdate,
        nextUpdate: thisUpdate + 365 * day,
        revoked: levels.revoked.includes('ask') ? [intermediateSerials.vcek] : [],
        sign: certificateSigner(ark.key),
      })
      return [{ kind: 'crl', content }]
    }
    case 'sgx':
    case 'tdx':
      return simulatedIntelCollateral(tee, await openSimulatedVendors(folder), levels, Math.floor(now))
    case 'nitro':
      return []
    default:
      return tee satisfies never
  }
}
