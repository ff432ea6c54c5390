import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Figure } from '@cella/testing'
import { withInstallation } from './installation.ts'

const upSecondsMax = 5
const demoSecondsMax = 60
const root = fileURLToPath(new URL('..', import.meta.url))

/** How long an installation takes until a run could be served, after its first start; with --long, the whole demo. */
export async function bench(report: (figure: Figure) => void): Promise<void> {
  await withInstallation(async (stage) => {
    const starts: number[] = []
    for (let start = 0; start < 4; start++) {
      const started = performance.now()
      await stage.up()
      // The first start makes keys and the database: it is not the one that is promised.
      if (start > 0) starts.push((performance.now() - started) / 1000)
      await stage.down()
    }
    report(seconds('an installation ready after its first start, worst of 3', Math.max(...starts), upSecondsMax))
  })
  if (process.env.CELLA_LONG !== '1') {
    report(seconds('the demo, whole (with --long)', Number.NaN, demoSecondsMax))
    return
  }
  const started = performance.now()
  const { status } = spawnSync(process.execPath, ['examples/demo/main.ts'], { cwd: root, stdio: 'ignore' })
  if (status !== 0) throw new Error(`the demo ended with exit code ${status}`)
  report(seconds('the demo, whole', (performance.now() - started) / 1000, demoSecondsMax))
}

function seconds(bench: string, value: number, max: number): Figure {
  const ratio = value / max
  return { bench, value, unit: 's', against: `${max} s`, ratio, target: 1, met: ratio <= 1 }
}
