import type { Verdict } from '@cella/receipt'
import { outcomeTitles, verdictParts } from '../words.ts'

/** Shows a verdict. Text of a file is set as text and never as markup. */
export function showVerdict(into: HTMLElement, verdict: Verdict): void {
  const parts = verdictParts(verdict).flatMap(({ name, title, mark, statements }) => {
    const list = make('ul', '', name)
    list.append(
      ...statements.map(({ text }) => {
        const item = make('li', plain(text))
        item.dataset.mark = mark
        return item
      }),
    )
    return [make('h3', title), list]
  })
  show(into, verdict.outcome, [make('h2', outcomeTitles[verdict.outcome]), ...parts])
}

/** Shows why nothing can be judged yet. */
export function showWrong(into: HTMLElement, problem: string): void {
  show(into, 'cannot-tell', [make('h2', 'Something that you gave can’t be used'), make('p', plain(problem))])
}

function show(into: HTMLElement, tone: Verdict['outcome'], content: readonly HTMLElement[]): void {
  into.className = tone
  into.replaceChildren(...content)
  into.hidden = false
}

function make(tag: string, text: string, className?: string): HTMLElement {
  const made = document.createElement(tag)
  made.textContent = text
  if (className !== undefined) made.className = className
  return made
}

/** Without characters that reorder or hide what is read. */
function plain(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu, '\ufffd')
}
