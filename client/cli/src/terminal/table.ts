import { plainStyle, type Style } from './style.ts'
import { displayWidth, pad, printable, truncate } from './text.ts'

export interface TableColumn {
  readonly name: string
  readonly align: 'left' | 'right'
}

export interface TableContent {
  readonly columns: readonly TableColumn[]
  /** A null is a missing value: shown as a dot, so that it can't be taken for an empty text or a zero. */
  readonly rows: readonly (readonly (string | null)[])[]
}

const gap = '  '
const missing = '·'
const cellMin = 4

/**
 * A table in lines of at most `width` cells. Cells are made printable first. Where the width does not suffice, the widest
 * columns are cut; nothing is left out without an ellipsis.
 */
export function renderTable(content: TableContent, options: { width: number; style?: Style }): string {
  const style = options.style ?? plainStyle
  const heads = content.columns.map(({ name }) => printable(name))
  const rows = content.rows.map((row) => row.map((cell) => (cell === null ? null : printable(cell))))
  const widths = heads.map((head, column) =>
    rows.reduce((widest, row) => Math.max(widest, displayWidth(row[column] ?? missing)), displayWidth(head)),
  )
  shrink(widths, options.width - gap.length * (widths.length - 1))
  const line = (cells: readonly (string | null)[], paint: (text: string) => string): string =>
    cells
      .map((cell, column) => {
        const width = widths[column]!
        const text = pad(truncate(cell ?? missing, width), width, content.columns[column]!.align)
        return cell === null ? style.dim(text) : paint(text)
      })
      .join(gap)
      .trimEnd()
  return [
    line(heads, style.bold),
    style.dim(widths.map((width) => '─'.repeat(width)).join(gap)),
    ...rows.map((row) => line(row, (text) => text)),
  ].join('\n')
}

/** Takes cells from the widest column until all fit or each is at its minimum. */
function shrink(widths: number[], available: number): void {
  let total = widths.reduce((sum, width) => sum + width, 0)
  while (total > available) {
    const widest = widths.reduce((best, width, column) => (width > widths[best]! ? column : best), 0)
    if (widths[widest]! <= cellMin) return
    widths[widest]!--
    total--
  }
}

/** Pairs of a name and a value in two columns, without a head. */
export function renderPairs(pairs: readonly (readonly [string, string])[], style: Style = plainStyle): string {
  const width = pairs.reduce((widest, [name]) => Math.max(widest, displayWidth(name)), 0)
  return pairs.map(([name, value]) => `${style.dim(pad(name, width, 'left'))}  ${value}`).join('\n')
}
