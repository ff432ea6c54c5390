import { encodeUtf8 } from '@cella/bytes'
import { der, derOid, derTag } from '../x509/der.ts'
import type { SnpProduct } from './product.ts'

/** Which key signs reports: one of the chip (VCEK) or one that AMD gave a cloud provider (VLEK). */
export type SnpVek = 'vcek' | 'vlek'

export function leafName(vek: SnpVek): string {
  return vek === 'vcek' ? 'SEV-VCEK' : 'SEV-VLEK'
}

/** ASK for a VCEK, ASVK for a VLEK. */
export function intermediateName(vek: SnpVek, product: SnpProduct): string {
  return vek === 'vcek' ? `SEV-${product}` : `SEV-VLEK-${product}`
}

export function rootName(product: SnpProduct): string {
  return `ARK-${product}`
}

const attributes: readonly (readonly [string, number, string])[] = [
  ['2.5.4.11', derTag.utf8String, 'Engineering'],
  ['2.5.4.6', derTag.printableString, 'US'],
  ['2.5.4.7', derTag.utf8String, 'Santa Clara'],
  ['2.5.4.8', derTag.utf8String, 'CA'],
  ['2.5.4.10', derTag.utf8String, 'Advanced Micro Devices'],
]

/** The DER Name of AMD's certificates with this common name: OU, C, L, ST, O, CN, in this order and with these types. */
export function amdName(commonName: string): Uint8Array {
  return der(
    derTag.sequence,
    ...[...attributes, ['2.5.4.3', derTag.utf8String, commonName] as const].map(([oid, tag, text]) =>
      der(derTag.set, der(derTag.sequence, derOid(oid), der(tag, encodeUtf8(text)))),
    ),
  )
}
