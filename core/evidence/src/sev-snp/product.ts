/** AMD processor lines with SEV-SNP, by the name that AMD's certificates use. */
export type SnpProduct = 'Milan' | 'Genoa' | 'Turin' | 'Venice'

export const snpProducts: readonly SnpProduct[] = ['Milan', 'Genoa', 'Turin', 'Venice']

/** Which layout TCB_VERSION and CHIP_ID have: Turin added the FMC and shortened the chip id. */
export function hasTurinLayout(product: SnpProduct): boolean {
  return product === 'Turin' || product === 'Venice'
}

/** CPUID bytes of the report (0x188): combined family, combined model, stepping. */
export interface SnpCpuid {
  readonly family: number
  readonly model: number
  readonly stepping: number
}

// Ranges as virtee/sev lists them: [family, first model, last model, product].
const models: readonly (readonly [number, number, number, SnpProduct])[] = [
  [0x19, 0x00, 0x0f, 'Milan'],
  [0x19, 0x10, 0x1f, 'Genoa'],
  [0x19, 0xa0, 0xaf, 'Genoa'],
  [0x1a, 0x00, 0x11, 'Turin'],
  [0x1a, 0x50, 0x57, 'Venice'],
  [0x1a, 0x90, 0xaf, 'Venice'],
  [0x1a, 0xc0, 0xc7, 'Venice'],
]

/** The product line of a processor, `undefined` for one that isn't known. */
export function productOfCpuid({ family, model }: SnpCpuid): SnpProduct | undefined {
  return models.find(([f, first, last]) => f === family && model >= first && model <= last)?.[3]
}

/** The product line in a VEK certificate's name, `Milan-B0` or `Milan`; `undefined` for any other text. */
export function productOfName(name: string): SnpProduct | undefined {
  return snpProducts.find((product) => name === product || new RegExp(`^${product}-[A-Z][0-9]$`).test(name))
}
