import { formatBytes, formatSeconds } from './units.ts'

export interface ProgressTarget {
  readonly isTTY: boolean
  readonly columns: number
  write(text: string): void
}

/** A line that is drawn over itself. On anything but a terminal it draws nothing. */
export interface Progress {
  /** Bytes, or what else the label says, done of `total`. */
  update(done: number, total: number): void
  /** Takes the line away. */
  end(): void
}

const redrawMs = 100

/** Progress of `label`, in bytes unless `amount` says otherwise, with rate and time left, drawn at most ten times a second. `now` in milliseconds. */
export function startProgress(
  label: string,
  target: ProgressTarget,
  now: () => number,
  amount: (count: number) => string = formatBytes,
): Progress {
  const start = now()
  let drawn = Number.NEGATIVE_INFINITY
  if (!target.isTTY) return { update() {}, end() {} }
  return {
    update(done, total) {
      const at = now()
      if (at - drawn < redrawMs && done < total) return
      drawn = at
      target.write(
        `\r\u001b[K${progressLine({ label, done, total, seconds: (at - start) / 1000, width: target.columns, amount })}`,
      )
    },
    end() {
      if (drawn !== Number.NEGATIVE_INFINITY) target.write('\r\u001b[K')
    },
  }
}

/** One state of a progress line. */
export function progressLine(state: {
  label: string
  done: number
  total: number
  seconds: number
  width: number
  amount?: (count: number) => string
}): string {
  const { amount = formatBytes } = state
  const fraction = state.total > 0 ? Math.min(1, state.done / state.total) : 1
  const rate = state.seconds > 0 ? state.done / state.seconds : 0
  const left = rate > 0 ? (state.total - state.done) / rate : undefined
  const words = [
    `${amount(state.done)} of ${amount(state.total)}`,
    ...(rate > 0 ? [`${amount(rate)}/s`] : []),
    ...(left !== undefined && state.done < state.total ? [`${formatSeconds(left)} left`] : []),
  ].join(', ')
  const room = Math.min(30, state.width - state.label.length - words.length - 4)
  const filled = Math.round(room * fraction)
  const bar = room >= 5 ? `${'█'.repeat(filled)}${'░'.repeat(room - filled)} ` : ''
  return `${state.label} ${bar}${words}`.slice(0, Math.max(0, state.width - 1))
}
