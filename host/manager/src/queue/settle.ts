import { sql, type Transaction } from 'kysely'
import type { RunStatus, Tables } from '../database/tables.ts'
import { addRunNotices } from '../notices/notices.ts'
import { changeRun } from './events.ts'
import type { Run } from './queue.ts'

/** How a run ended, as its row says it. */
export interface Outcome {
  status: RunStatus
  attempt?: number
  error?: string | null
  receipt?: string
  receipt_index?: number
  bundle?: string
  outputs?: string
  decisions?: string
}

/** Ends a run: every end has one last event, `finished`, that says how. */
export async function settle(transaction: Transaction<Tables>, row: Run, end: Outcome): Promise<void> {
  const set = { ...end, phase: 'finished', lease_until: null }
  if (row.status === 'finished') {
    // Its end was told before; only the outcome is another one.
    await transaction
      .updateTable('runs')
      .set({ ...set, updated_at: sql<Date>`now()` })
      .where('contract', '=', row.contract)
      .where('run', '=', row.run)
      .execute()
    return
  }
  const { status } = end
  await changeRun(transaction, row, { set, event: { attempt: row.attempt, phase: 'finished', detail: { status } } })
  await addRunNotices(transaction, row, status)
}
