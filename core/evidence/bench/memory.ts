import type { Figure } from '@cella/testing'

const rounds = 20
const verificationsPerRound = 30

/** By how much heap and buffers grow for one verification: the most of the rounds, of which some have no collection. */
export async function memoryFigure(bench: string, verify: () => Promise<unknown>): Promise<Figure> {
  let bytes = 0
  for (let round = 0; round < rounds; round++) {
    const before = memoryBytes()
    for (let count = 0; count < verificationsPerRound; count++) await verify()
    bytes = Math.max(bytes, (memoryBytes() - before) / verificationsPerRound)
  }
  const value = bytes / 1_048_576
  return { bench: `${bench}: memory`, value, unit: 'MiB', against: '1 MiB', ratio: value, target: 1, met: value <= 1 }
}

function memoryBytes(): number {
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}
