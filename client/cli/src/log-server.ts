import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import { CliError } from './error.ts'

const reportSchema = z.object({
  origin: z.string(),
  size: z.int().min(0),
  root: z.string(),
  tiles: z.int().min(0),
  problems: z.array(z.string()),
})

const outputBytesMax = 16_777_216

/** Has the log server's own program check its storage, while nothing or while the log runs. Throws its own last words. */
export function checkLogServer(options: {
  config: string
  policy: string | undefined
}): Promise<z.infer<typeof reportSchema>> {
  const args = [
    '--config',
    options.config,
    '--check',
    ...(options.policy === undefined ? [] : ['--policy', options.policy]),
  ]
  return new Promise((resolve, reject) => {
    execFile(
      process.execPath,
      ['--disable-warning=ExperimentalWarning', logServerEntry(), ...args],
      { maxBuffer: outputBytesMax },
      (error, stdout, stderr) => {
        if (error === null) return resolve(reportSchema.parse(JSON.parse(stdout)))
        const words = /^error: (.*)$/m.exec(stderr)?.[1] ?? error.message
        reject(new CliError('ERR_REFUSED', `the log can’t be checked: ${words}`, undefined, { cause: error }))
      },
    )
  })
}

function logServerEntry(): string {
  const inTree = fileURLToPath(new URL('../../../host/log/src/main.ts', import.meta.url))
  // A bundle lies elsewhere, where the same path would be somebody else’s file.
  if (import.meta.url.endsWith('/client/cli/src/log-server.ts') && existsSync(inTree)) return inTree
  try {
    return createRequire(import.meta.url).resolve('@cella/log-server/main')
  } catch (cause) {
    throw new CliError(
      'ERR_SERVER_NOT_INSTALLED',
      'the log server is not part of this installation: only the client is',
      'check the log by its folder or its URL instead: cella log check FOLDER',
      { cause },
    )
  }
}
