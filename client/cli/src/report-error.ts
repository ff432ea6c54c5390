import { CommanderError } from 'commander'
import type { GlobalOptions, Io } from './context.ts'
import { hints } from './hints.ts'
import { styleFor } from './terminal/style.ts'
import { printableLines } from './terminal/text.ts'

/** What another machine or process has to do with; a file that is not there is refused. */
const unavailable: ReadonlySet<string> = new Set([
  'ERR_MANAGER_UNAVAILABLE',
  'ERR_LOG_UNAVAILABLE',
  'ERR_SERVER_UNAVAILABLE',
  'ERR_COLLATERAL_UNAVAILABLE',
  'ERR_SERVER_NOT_INSTALLED',
  'ERR_BACKUP_UNAVAILABLE',
  'ERR_DATABASE_UNAVAILABLE',
])

/** 0 done, 1 refused, 2 usage, 3 unavailable. */
export function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) return 2
  const code = codeOf(error)
  if (code === 'ERR_USAGE' || code === 'ERR_PASSPHRASE_UNAVAILABLE') return 2
  return unavailable.has(code) ? 3 : 1
}

/** `error: …`, then `hint: …`; in JSON mode the same as one value. Never a stack: it would show paths and no help. */
export function reportError(
  error: unknown,
  io: Io,
  { json, command }: Pick<GlobalOptions, 'json'> & { readonly command: string },
): void {
  const code = error instanceof CommanderError ? 'ERR_USAGE' : codeOf(error)
  const message = messageOf(error)
  const hint = hintOf(error, command) ?? hints[code]
  if (json === true) {
    io.stderr.write(`${JSON.stringify({ error: { code, message, ...(hint !== undefined && { hint }) } })}\n`)
    return
  }
  const style = styleFor({ isTTY: io.stderr.isTTY === true, env: io.env })
  io.stderr.write(`${style.red(style.bold('error:'))} ${printableLines(message)}\n`)
  if (hint !== undefined) io.stderr.write(`${style.cyan('hint:')} ${printableLines(hint)}\n`)
}

function codeOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  return typeof code === 'string' && code.startsWith('ERR_') ? code : 'ERR_INTERNAL'
}

function messageOf(error: unknown): string {
  if (error instanceof CommanderError) {
    return error.code === 'commander.help' ? 'which command?' : error.message.replace(/^error: /, '')
  }
  const message = error instanceof Error ? error.message : String(error)
  const code = codeOf(error)
  return code === 'ERR_INTERNAL' || code === 'ERR_USAGE' ? message : `${message} (${code})`
}

/** `command` is what was understood of the command line: its help says more than the list of all. */
function hintOf(error: unknown, command: string): string | undefined {
  const hint = error instanceof Error && 'hint' in error ? error.hint : undefined
  if (typeof hint === 'string') return hint
  if (!(error instanceof CommanderError) && codeOf(error) !== 'ERR_USAGE') return undefined
  return command === 'cella'
    ? 'cella --help lists the commands; each has --help with an example'
    : `${command} --help says how, with an example`
}
