import { encodeHex, encodeUtf8 } from '@cella/bytes'
import { issueNitroDocument, issueNitroLeaf } from '@cella/evidence/nitro-issue'
import { randomBytes, sha384 } from '@cella/primitives'
import { generateP384Key, signP384, spkiOf } from './keys.ts'
import { nitroInstanceName, type SimulatedVendors } from './vendors.ts'

/** AWS gives an enclave's certificate about three hours. */
const leafTime = 3 * 3600

/** The security module of a launched enclave: makes documents with `userData`, as of `now` in unix seconds. */
export async function openSecurityModule(
  { nitro }: SimulatedVendors,
  { measurement, debug }: { readonly measurement: Uint8Array; readonly debug: boolean },
): Promise<(userData: Uint8Array, now: number) => Promise<Uint8Array>> {
  const key = await generateP384Key()
  const moduleId = `${nitro.instanceId}-enc${encodeHex(randomBytes(8))}`
  const serial = Uint8Array.of(1, ...randomBytes(15))
  const pcrs = registers(nitro.instanceId, measurement, debug)
  return async (userData, now) => {
    const certificate = await issueNitroLeaf({
      issuer: nitroInstanceName(nitro.instanceId),
      subject: `${moduleId}.eu-central-1.aws`,
      serial,
      spki: spkiOf(key),
      sign: signP384(nitro.instance.key),
      notBefore: Math.floor(now) - 60,
      notAfter: Math.floor(now) + leafTime,
    })
    const cabundle = [nitro.root.certificate, nitro.region.certificate, nitro.instance.certificate]
    return issueNitroDocument(
      {
        moduleId,
        timestamp: Math.floor(now * 1000),
        pcrs,
        certificate,
        cabundle,
        publicKey: undefined,
        userData,
        nonce: undefined,
      },
      signP384(key),
    )
  }
}

/** PCR0 the launch, PCR1 and PCR2 its parts, PCR4 the instance; zeros elsewhere, and in PCR0 to PCR2 of a debug enclave. */
function registers(instance: string, measurement: Uint8Array, debug: boolean): ReadonlyMap<number, Uint8Array> {
  const of = (index: number): Uint8Array => {
    if (index === 4) return sha384(encodeUtf8(instance))
    if (index > 2 || debug) return new Uint8Array(48)
    return index === 0 ? measurement : sha384(encodeUtf8(`simulated PCR${index}`))
  }
  return new Map([...Array(16).keys()].map((index) => [index, of(index)]))
}
