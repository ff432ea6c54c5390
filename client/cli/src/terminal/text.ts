// What a program, a manifest or a server wrote must not steer the terminal: escape sequences could hide a refusal or
// repaint a table, and bidirectional controls reorder what is read.
const unprintable =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is replaced
  /[\u0000-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]|\p{Cs}/gu

/** `text` on one line, each control character, bidirectional control and lone surrogate replaced by U+FFFD. */
export function printable(text: string): string {
  return text.replace(unprintable, '\ufffd')
}

/** As `printable`, but keeps line ends: for words of ours that quote others. */
export function printableLines(text: string): string {
  return text.split('\n').map(printable).join('\n')
}

const segmenter = new Intl.Segmenter('en', { granularity: 'grapheme' })
// East Asian Wide and Fullwidth (UAX #11) and emoji presentation take two cells.
const wide =
  /^(?:[\u1100-\u115f\u2e80-\u303e\u3041-\u33ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}|[\u{20000}-\u{3fffd}])/u

/** Cells that `text` takes in a terminal; it must be printable. */
export function displayWidth(text: string): number {
  let width = 0
  for (const { segment } of segmenter.segment(text)) width += wide.test(segment) ? 2 : 1
  return width
}

/** `text` cut to `width` cells, its last cell an ellipsis when something is missing. */
export function truncate(text: string, width: number): string {
  if (displayWidth(text) <= width) return text
  let kept = ''
  let used = 0
  for (const { segment } of segmenter.segment(text)) {
    const cells = displayWidth(segment)
    if (used + cells > width - 1) break
    kept += segment
    used += cells
  }
  return width > 0 ? `${kept}…` : ''
}

/** `text` with spaces to `width` cells. */
export function pad(text: string, width: number, align: 'left' | 'right'): string {
  const space = ' '.repeat(Math.max(0, width - displayWidth(text)))
  return align === 'left' ? text + space : space + text
}

/** `text` broken at spaces into lines of at most `width` cells, the second and later ones indented. */
export function wrap(text: string, options: { width: number; indent: string }): string {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    const candidate = line === '' ? word : `${line} ${word}`
    if (line !== '' && displayWidth(candidate) > options.width) {
      lines.push(line)
      line = options.indent + word
    } else line = candidate
  }
  lines.push(line)
  return lines.join('\n')
}
