import { spawn } from 'node:child_process'
import { resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { text as readText } from 'node:stream/consumers'
import { z } from 'zod'
import type { Context } from './context.ts'
import { CliError } from './error.ts'
import { hostEntry } from './supervisor.ts'

const progressSchema = z.object({ event: z.literal('progress'), done: z.number(), total: z.number() })
const failureSchema = z.object({ code: z.string(), message: z.string(), hint: z.string().optional() })

/** Runs the host's program to its end. Throws what it says went wrong. */
export async function runBackup(
  context: Context,
  label: string,
  parameters: readonly string[],
  passphrase: { expose(): Uint8Array; destroy(): void } | undefined,
): Promise<unknown> {
  const [command, place, ...options] = parameters
  const child = spawn(
    process.execPath,
    [
      '--disable-warning=ExperimentalWarning',
      hostEntry('backup'),
      command!,
      resolve(place!),
      ...options,
      ...(passphrase === undefined ? [] : ['--passphrase']),
    ],
    { stdio: ['pipe', 'pipe', 'pipe'] },
  )
  const ended = new Promise<number | null>((settle) => child.once('close', settle))
  const said = readText(child.stderr)
  child.stdin.on('error', () => undefined)
  child.stdin.end(passphrase?.expose())
  const progress = context.progress(label)
  let result: unknown
  for await (const line of createInterface({ input: child.stdout })) {
    const value: unknown = JSON.parse(line)
    const step = progressSchema.safeParse(value)
    if (step.success) progress.update(step.data.done, step.data.total)
    else result = value
  }
  progress.end()
  const code = await ended
  passphrase?.destroy()
  if (code === 0) return result
  throw failureOf(await said)
}

function failureOf(said: string): Error {
  for (const line of said.trim().split('\n').reverse()) {
    try {
      const { code, message, hint } = failureSchema.parse(JSON.parse(line))
      return Object.assign(new Error(message), { code, ...(hint !== undefined && { hint }) })
    } catch {
      // Not its last words: the line before.
    }
  }
  return new CliError('ERR_SERVER_UNAVAILABLE', `the backup ended without a word: ${said.slice(-500)}`)
}
