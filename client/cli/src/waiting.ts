import type { Run } from '@cella/sdk'
import { printable } from './terminal/text.ts'
import { formatCount } from './terminal/units.ts'

/** Why a run waits, in words. */
export function waitingLine({
  position,
  of,
  boundary,
  isolation,
  tees,
  workers,
  busy,
  refused,
}: NonNullable<Run['waiting']>): string {
  const tee = tees ? ` (${tees.map((name) => printable(name)).join(' or ')}, which the owners’ terms accept)` : ''
  const kind = `boundary ${printable(boundary)}${tee} and isolation ${isolation}`
  if (workers === 0) {
    const others = refused ? `; ${formatCount(refused, 'worker')} refused by the manager: cella doctor says why` : ''
    return `it waits for a worker of ${kind} or better: none is here${others}`
  }
  const who = `${formatCount(workers, 'worker')} of ${kind} or better, ${busy} at work`
  return `it is ${position} of ${of} that wait for this boundary; ${who}`
}
