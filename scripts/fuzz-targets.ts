import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type { FuzzTarget } from '@cella/testing/fuzz'

const root = fileURLToPath(new URL('..', import.meta.url))

/** The targets of every package that lists some in `test/fuzz-targets.ts`, each under its package: `evidence/parseJwt`. */
export async function allFuzzTargets(): Promise<FuzzTarget[]> {
  const lists = ['core', 'enclave', 'host', 'client'].flatMap((zone) =>
    readdirSync(join(root, zone), { recursive: true, encoding: 'utf8' })
      .filter((path) => /^[^/\\]+[/\\]test[/\\]fuzz-targets\.ts$/.test(path))
      .sort()
      .map((path) => ({ package: path.split(/[/\\]/)[0]!, file: join(root, zone, path) })),
  )
  const targets: FuzzTarget[] = []
  for (const list of lists) {
    const module: { fuzzTargets: readonly FuzzTarget[] } = await import(pathToFileURL(list.file).href)
    targets.push(...module.fuzzTargets.map((target) => ({ ...target, name: `${list.package}/${target.name}` })))
  }
  return targets
}

/** Verifications, which check signatures, and large inputs get a tenth of the cases that others get. */
function weightOf({ meaning, seeds }: FuzzTarget): number {
  return meaning || seeds.some(({ length }) => length > 65_536) ? 1 : 10
}

/** How many of `cases` each target gets. */
export function casesOf(targets: readonly FuzzTarget[], cases: number): number[] {
  const weights = targets.map(weightOf)
  const sum = weights.reduce((total, weight) => total + weight, 0)
  return weights.map((weight) => Math.ceil((cases * weight) / sum))
}
