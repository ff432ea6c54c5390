import { createPublicKey, type KeyObject, verify } from 'node:crypto'
import { type Figure, threadCpuMs } from '@cella/testing'
import { ChainCache } from '../src/cache.ts'
import { coseSignedBytes } from '../src/cose/sign1.ts'
import { parseNitroDocument } from '../src/nitro/document.ts'
import { nitroFamily } from '../src/nitro/family.ts'
import { parseCertificate } from '../src/x509/certificate.ts'
import { rawEcdsaSignature } from '../src/x509/signature.ts'
import { issueNitro, nitroContext } from '../test/nitro-vendor.ts'
import { memoryFigure } from './memory.ts'

const rounds = 20
const verificationsPerRound = 40

/** One ECDSA P-384 verification with its key imported beforehand. */
type Bare = readonly [signed: Uint8Array, key: KeyObject, signature: Uint8Array]

/**
 * Verification of an attestation document, with the chain unknown and with the chain in the cache, against the bare ECDSA
 * P-384 verifications that it needs (five and one) by node:crypto. Rounds alternate; each side's best round counts, in
 * CPU time of the one thread on which all of it runs, so that other load on the machine bends neither side.
 */
export async function bench(report: (figure: Figure) => void): Promise<void> {
  const entry = await issueNitro()
  const { message, document } = parseNitroDocument(entry.document)
  const chain = [document.certificate, ...[...document.cabundle].reverse()].map((der) => parseCertificate(der, 'chain'))
  const keyOf = (spki: Uint8Array): KeyObject =>
    createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' })
  const one: Bare = [coseSignedBytes(message), keyOf(chain[0]!.spki), message.signature]
  const links = chain
    .slice(0, -1)
    .map(
      (certificate, at): Bare => [
        certificate.tbs,
        keyOf(chain[at + 1]!.spki),
        rawEcdsaSignature(certificate.signature, 48, 'signature'),
      ],
    )
  const cache = new ChainCache()
  const cases = [
    { name: 'Nitro verification, chain unknown', cache: undefined, bare: [one, ...links] },
    { name: 'Nitro verification, chain cached', cache, bare: [one] },
  ]
  for (const { name, cache, bare } of cases) {
    const best = { whole: Number.POSITIVE_INFINITY, bare: Number.POSITIVE_INFINITY }
    for (let round = 0; round < rounds; round++) {
      const start = threadCpuMs()
      for (let count = 0; count < verificationsPerRound; count++)
        await nitroFamily.verify(entry, nitroContext({ cache }))
      const middle = threadCpuMs()
      for (let count = 0; count < verificationsPerRound; count++) {
        for (const [signed, key, signature] of bare) {
          if (!verify('sha384', signed, { key, dsaEncoding: 'ieee-p1363' }, signature))
            throw new Error('bare verification failed')
        }
      }
      const end = threadCpuMs()
      best.whole = Math.min(best.whole, (middle - start) / verificationsPerRound)
      best.bare = Math.min(best.bare, (end - middle) / verificationsPerRound)
    }
    const ratio = best.whole / best.bare
    report({
      bench: name,
      value: best.whole,
      unit: 'ms',
      against: `${bare.length} ECDSA P-384 ${bare.length === 1 ? 'verification' : 'verifications'} by node:crypto`,
      ratio,
      target: 1.5,
      met: ratio <= 1.5,
    })
  }
  const whole = () => nitroFamily.verify(entry, nitroContext({ cache }))
  report(await memoryFigure('Nitro verification, chain cached', whole))
}
