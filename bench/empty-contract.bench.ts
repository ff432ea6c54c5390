import { fetchReceipt, followRun, startRuns } from '@cella/sdk'
import type { Figure } from '@cella/testing'
import { emptyContract, withInstallation } from './installation.ts'

const warmUps = 5
const rounds = 30
const targetMs = 150

/**
 * An empty contract on a warm worker: one byte in, nothing out, one witness, everything as separate processes on this
 * machine. Measured at the client, from `run` to the receipt verified there, and shown phase by phase (medians; a phase
 * lasts until the event of the next one has arrived).
 */
export async function bench(report: (figure: Figure) => void): Promise<void> {
  await withInstallation(async (stage, folder) => {
    await stage.up()
    const { party, contract } = await emptyContract(stage, { folder, runs: warmUps + rounds })
    const totals: number[] = []
    const phases = new Map<string, number[]>()
    for (let round = 0; round < warmUps + rounds; round++) {
      const started = performance.now()
      const laps: [string, number][] = [['start', started]]
      const [run] = await startRuns(party.session, contract)
      const ended = await followRun(party.session, { contract, run: run!.run }, ({ phase }) =>
        laps.push([phase, performance.now()]),
      )
      if (ended.status !== 'finished') throw new Error(`run ${ended.run} is ${ended.status}: ${ended.error?.code}`)
      laps.push(['verify', performance.now()])
      const { verdict } = await fetchReceipt(party.session, { contract, run: run!.run })
      if (verdict.outcome !== 'proved') throw new Error(`the receipt of run ${ended.run} is ${verdict.outcome}`)
      laps.push(['', performance.now()])
      if (round < warmUps) continue
      totals.push(performance.now() - started)
      for (const [at, [phase, from]] of laps.slice(0, -1).entries()) {
        phases.set(phase, [...(phases.get(phase) ?? []), laps[at + 1]![1] - from])
      }
    }
    for (const [phase, lasted] of phases) console.log(`${phase.padEnd(12)} ${median(lasted).toFixed(1).padStart(7)} ms`)
    const value = median(totals)
    report({
      bench: 'empty contract on a warm worker, run to verified receipt, p50',
      value,
      unit: 'ms',
      against: `${targetMs} ms`,
      ratio: value / targetMs,
      target: 1,
      met: value <= targetMs,
    })
  })
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}
