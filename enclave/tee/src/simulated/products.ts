import type { SnpTcb } from '@cella/evidence/sev-snp-issue'

/** Processor lines that can be simulated. */
export type SimulatedProduct = 'Milan' | 'Genoa' | 'Turin'

/** What real machines of each line report: CPUID, the certificate's product name, a recent TCB. */
export const simulatedProducts: {
  readonly [Product in SimulatedProduct]: {
    readonly productName: string
    readonly cpuid: { readonly family: number; readonly model: number; readonly stepping: number }
    readonly tcb: SnpTcb
    readonly chipIdLength: number
  }
} = {
  Milan: {
    productName: 'Milan-B0',
    cpuid: { family: 0x19, model: 0x01, stepping: 0x01 },
    tcb: { bootLoader: 4, tee: 0, snp: 27, microcode: 222 },
    chipIdLength: 64,
  },
  Genoa: {
    productName: 'Genoa',
    cpuid: { family: 0x19, model: 0x11, stepping: 0x01 },
    tcb: { bootLoader: 10, tee: 0, snp: 23, microcode: 84 },
    chipIdLength: 64,
  },
  Turin: {
    productName: 'Turin',
    cpuid: { family: 0x1a, model: 0x02, stepping: 0x01 },
    tcb: { fmc: 1, bootLoader: 1, tee: 1, snp: 4, microcode: 81 },
    chipIdLength: 8,
  },
}

/** The TCB of a machine whose firmware was raised `level - 1` times: AMD's updates bring new microcode. */
export function raisedTcb(sound: SnpTcb, level: number): SnpTcb {
  return { ...sound, microcode: Math.min(255, sound.microcode + level - 1) }
}
