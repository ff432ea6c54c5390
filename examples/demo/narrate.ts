import { type Style, styleFor } from '../../client/cli/src/terminal/style.ts'

const startedAt = performance.now()
const style: Style = styleFor({ isTTY: process.stdout.isTTY ?? false, env: process.env })
export const width = Math.min(process.stdout.columns ?? 100, 110)
export { style }

/** A chapter of the story. */
export function chapter(title: string): void {
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1)
  console.log(
    `\n${style.bold(title)} ${style.dim(`${'─'.repeat(Math.max(3, width - title.length - seconds.length - 4))} ${seconds} s`)}`,
  )
}

/** Plain words, wrapped. */
export function say(text: string): void {
  for (const line of wrap(text, width - 2)) console.log(`  ${line}`)
}

export function done(text: string): void {
  const [first = '', ...rest] = wrap(text, width - 4)
  console.log(`  ${style.green('✔')} ${first}`)
  for (const line of rest) console.log(`    ${line}`)
}

/** What the operator tried, and what stopped it. */
export function refusal(code: string, why: string): void {
  const [first = '', ...rest] = wrap(why, width - 6 - code.length)
  console.log(`  ${style.red('✘')} ${style.red(code)}  ${style.dim(first)}`)
  for (const line of rest) console.log(`    ${' '.repeat(code.length + 2)}${style.dim(line)}`)
}

export function show(block: string): void {
  for (const line of block.replace(/\n$/, '').split('\n')) console.log(`  ${line}`)
}

function wrap(text: string, length: number): string[] {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + word.length + 1 > length) {
      lines.push(line)
      line = ''
    }
    line = line === '' ? word : `${line} ${word}`
  }
  return [...lines, line]
}
