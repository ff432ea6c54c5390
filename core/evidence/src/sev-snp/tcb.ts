import { FormatError } from '@cella/bytes'
import { hasTurinLayout, type SnpProduct } from './product.ts'

/** Security patch levels, each 0..255. `fmc` (boot-time firmware of the newer parts) is there from Turin on only. */
export interface SnpTcb {
  readonly fmc?: number
  readonly bootLoader: number
  readonly tee: number
  readonly snp: number
  readonly microcode: number
}

export type SnpTcbComponent = keyof SnpTcb

export const snpTcbComponents: readonly SnpTcbComponent[] = ['fmc', 'bootLoader', 'tee', 'snp', 'microcode']

// Byte of each component in TCB_VERSION (8 bytes); all others are reserved and zero.
const legacyLayout: readonly (readonly [SnpTcbComponent, number])[] = [
  ['bootLoader', 0],
  ['tee', 1],
  ['snp', 6],
  ['microcode', 7],
]
const turinLayout: readonly (readonly [SnpTcbComponent, number])[] = [
  ['fmc', 0],
  ['bootLoader', 1],
  ['tee', 2],
  ['snp', 3],
  ['microcode', 7],
]

function layoutOf(product: SnpProduct): readonly (readonly [SnpTcbComponent, number])[] {
  return hasTurinLayout(product) ? turinLayout : legacyLayout
}

/** The components of TCB_VERSION (8 bytes) in the layout of `product`. Throws FormatError when a reserved byte is set. */
export function parseTcb(bytes: Uint8Array, product: SnpProduct, field: string): SnpTcb {
  const layout = layoutOf(product)
  const known = layout.map(([, at]) => at)
  if (bytes.length !== 8 || bytes.some((byte, at) => byte !== 0 && !known.includes(at))) {
    throw new FormatError(field, `is not a TCB_VERSION of ${product}: a reserved byte is set`)
  }
  return Object.fromEntries(layout.map(([component, at]) => [component, bytes[at]!])) as unknown as SnpTcb
}

/** The inverse of parseTcb. */
export function encodeTcb(tcb: SnpTcb, product: SnpProduct): Uint8Array {
  const bytes = new Uint8Array(8)
  for (const [component, at] of layoutOf(product)) bytes[at] = tcb[component] ?? 0
  return bytes
}

/** The components of `tcb` that are below `minimum`; one that `tcb` does not have counts as 0. */
export function tcbBelow(tcb: SnpTcb, minimum: SnpTcb): SnpTcbComponent[] {
  return snpTcbComponents.filter((component) => (tcb[component] ?? 0) < (minimum[component] ?? 0))
}

export function equalTcb(a: SnpTcb, b: SnpTcb): boolean {
  return snpTcbComponents.every((component) => a[component] === b[component])
}

/** `boot loader 4, TEE 0, SNP 24, microcode 219`, for people. */
export function tcbText(tcb: SnpTcb): string {
  const names = { fmc: 'FMC', bootLoader: 'boot loader', tee: 'TEE', snp: 'SNP', microcode: 'microcode' }
  return snpTcbComponents
    .filter((component) => tcb[component] !== undefined)
    .map((component) => `${names[component]} ${tcb[component]}`)
    .join(', ')
}
