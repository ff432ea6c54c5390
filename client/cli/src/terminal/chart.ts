import { plainStyle, type Style } from './style.ts'
import { displayWidth, pad, printable, truncate } from './text.ts'

export interface Bar {
  readonly label: string
  /** null: suppressed or missing. */
  readonly value: number | null
}

const eighths = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉']

/**
 * Horizontal bars on one scale, in lines of at most `width` cells. With a negative value among them, bars grow from a
 * common zero line to both sides. A missing value says so instead of looking like a zero.
 */
export function renderBars(
  bars: readonly Bar[],
  options: { width: number; style?: Style; title?: string; missing?: string },
): string {
  const style = options.style ?? plainStyle
  const labels = bars.map(({ label }) => truncate(printable(label), Math.max(8, Math.floor(options.width / 3))))
  const values = bars.map(({ value }) => (value === null ? '' : formatNumber(value)))
  const labelWidth = Math.max(0, ...labels.map(displayWidth))
  const valueWidth = Math.max(0, ...values.map(displayWidth))
  const room = Math.max(10, options.width - labelWidth - valueWidth - 4)
  // Shares of the largest, so that no sum or product leaves the range of numbers.
  const largest = Math.max(...bars.map(({ value }) => Math.abs(value ?? 0)), 0) || 1
  const shares = bars.map(({ value }) => (value === null ? null : value / largest))
  const known = shares.filter((share) => share !== null)
  const high = Math.max(0, ...known)
  const low = Math.min(0, ...known)
  const span = high - low || 1
  const left = low < 0 ? Math.max(1, Math.round((room * -low) / span)) : 0
  const right = high > 0 ? room - left : 0
  const lines = shares.map((value, index) => {
    const label = pad(labels[index]!, labelWidth, 'left')
    if (value === null) return `${label}  ${' '.repeat(left)}${style.dim(options.missing ?? 'suppressed')}`
    const drawn =
      value < 0
        ? style.yellow(pad('█'.repeat(Math.max(1, Math.round((left * value) / low))), left, 'right'))
        : ' '.repeat(left) + style.cyan(growing(high > 0 ? (right * value) / high : 0))
    return `${label}  ${drawn} ${values[index]!}`
  })
  return [...(options.title === undefined ? [] : [style.bold(printable(options.title))]), ...lines].join('\n')
}

/** A bar of `cells` cells, the last one drawn in eighths; a value above zero never looks like none. */
function growing(cells: number): string {
  const steps = Math.max(cells > 0 ? 1 : 0, Math.round(cells * 8))
  return '█'.repeat(Math.floor(steps / 8)) + eighths[steps % 8]!
}

/** Four significant digits at most, thousands grouped. */
function formatNumber(value: number): string {
  return new Intl.NumberFormat('en', { maximumSignificantDigits: Math.abs(value) >= 10_000 ? 7 : 4 }).format(value)
}
