import type { Figure } from '@cella/testing'

/** A figure as it is judged: `met` is null where nothing was measured, so that no gap counts as a success. */
export type JudgedFigure = Omit<Figure, 'value' | 'ratio' | 'met'> & {
  readonly value: number | null
  readonly ratio: number | null
  readonly met: boolean | null
}

export function judged(figure: Figure): JudgedFigure {
  const measured = Number.isFinite(figure.ratio) && Number.isFinite(figure.value)
  return {
    bench: figure.bench,
    value: Number.isFinite(figure.value) ? figure.value : null,
    unit: figure.unit,
    against: figure.against,
    ratio: measured ? figure.ratio : null,
    target: figure.target,
    met: measured ? figure.met : null,
  }
}

const barCells = 24
const targetCell = 16

/**
 * One figure for people: a bar with a mark where the target is, the ratio, and what it was measured against. Most
 * targets are upper bounds; where a figure meets its target from above, or misses it from below, it is a lower one.
 */
export function renderFigure({ bench, value, unit, against, ratio, target, met }: JudgedFigure): string {
  const mark = met === null ? '–' : met ? '✓' : '✗'
  const shownValue = value === null ? 'no value' : `${round(value)} ${unit}`
  const head = `${mark} ${bench}: ${shownValue}`
  if (ratio === null) return `${head}\n    not measured against ${against}`
  const filled = Math.max(0, Math.min(barCells, Math.round((ratio / target) * targetCell)))
  const cells = `${'█'.repeat(filled)}${'·'.repeat(barCells - filled)}`
  const bar = `${cells.slice(0, targetCell)}|${cells.slice(targetCell)}`
  const bound = met === ratio > target ? 'at least' : 'at most'
  return `${head}\n    ${bar} ${round(ratio)} × ${against} (target: ${bound} ${target})`
}

/** Three significant digits, never in exponents. */
function round(value: number): string {
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : Math.abs(value) >= 1 ? 2 : 3
  return value.toFixed(digits)
}
