import { availableParallelism } from 'node:os'
import type { Digest } from '@cella/bytes'
import { followRun, startRuns } from '@cella/sdk'
import { type Figure, treeCpuSeconds } from '@cella/testing'
import { emptyContract, withInstallation } from './installation.ts'

const workers = 4
const contracts = 50
const warmUps = 8
/** Runs that are alone before. */
const alone = 10

/**
 * 50 empty contracts queued at once on 4 real workers, everything as separate processes on this machine. Against what 4 workers
 * could do at the pace of a run that is alone, or, where this machine has not the cores for that, what its cores could do if
 * each run took the CPU time that one alone takes, in all processes with the client's. So it tells whether runs wait for
 * each other in vault, log or queue. The queue alone: host/manager/bench/queue.bench.ts.
 */
export async function bench(report: (figure: Figure) => void): Promise<void> {
  await withInstallation(
    async (stage, folder) => {
      await stage.up()
      const runs = warmUps + alone
      const { party, contract, others } = await emptyContract(stage, { folder, runs, more: contracts })
      const { session } = party
      const runOnce = async (of: Digest): Promise<void> => {
        const [started] = await startRuns(session, of)
        const { run } = started!
        const { status, error } = await followRun(session, { contract: of, run }, () => undefined)
        if (status !== 'finished') throw new Error(`run ${run} is ${status}: ${error?.code}`)
      }
      const measured = async (count: number, work: () => Promise<unknown>): Promise<{ wall: number; cpu: number }> => {
        const [wall, cpu] = [performance.now(), cpuSeconds(stage.pid!)]
        await work()
        return { wall: (performance.now() - wall) / 1000 / count, cpu: (cpuSeconds(stage.pid!) - cpu) / count }
      }
      const oneByOne = async (count: number): Promise<void> => {
        for (let run = 0; run < count; run++) await runOnce(contract)
      }
      await oneByOne(warmUps)
      const one = await measured(alone, () => oneByOne(alone))
      const all = await measured(contracts, () => Promise.all(others.map(runOnce)))
      const byWorkers = workers / one.wall
      const byCores = availableParallelism() / one.cpu
      console.log(`one run alone: ${(one.wall * 1000).toFixed(0)} ms, ${(one.cpu * 1000).toFixed(0)} ms of a core`)
      console.log(`of ${contracts} at once: ${(all.cpu * 1000).toFixed(0)} ms of a core each`)
      console.log(`${workers} workers could do ${byWorkers.toFixed(1)} runs/s, the cores ${byCores.toFixed(1)}`)
      const value = 1 / all.wall
      const ratio = value / (Number.isNaN(byCores) ? byWorkers : Math.min(byWorkers, byCores))
      report({
        bench: `${contracts} empty contracts queued at once on ${workers} real workers`,
        value,
        unit: 'runs/s',
        against: `what ${byCores < byWorkers ? 'the cores' : `${workers} workers`} could do at the pace of one run alone`,
        ratio,
        target: 0.8,
        met: ratio >= 0.8,
      })
    },
    { workers },
  )
}

/** Of the installation and of this process, which is the client. */
function cpuSeconds(supervisor: number): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1e6 + treeCpuSeconds(supervisor)
}
