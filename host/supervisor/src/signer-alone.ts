import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { canonicalJson } from '@cella/bytes'
import { Child, runOnce } from './child.ts'
import { SupervisorError } from './error.ts'
import { openSigner } from './signer-folder.ts'

const readyMs = 30_000

/**
 * Runs the log signer of a data folder alone, for a log of this origin, as long as `use` works with it. Throws
 * ERR_PROCESS_FAILED where it does not come up.
 */
export async function withLogSigner<T>(
  options: { dataFolder: string; id: string; origin: string; tee: string; root: string },
  use: (url: string) => Promise<T>,
): Promise<T> {
  const { dataFolder, id, origin, tee, root } = options
  const signer = openSigner(dataFolder, id)
  const platform = join(dataFolder, 'tee')
  const { roots } = await runOnce(
    process.execPath,
    [
      '--disable-warning=ExperimentalWarning',
      join(root, 'enclave/tee/src/simulated/create-main.ts'),
      '--folder',
      platform,
      tee,
    ],
    new AbortController().signal,
  )
  mkdirSync(join(dataFolder, 'logs'), { recursive: true, mode: 0o700 })
  let child: Child | undefined
  try {
    const port = await new Promise<number>((resolve, reject) => {
      child = new Child({
        name: 'log-signer',
        command: process.execPath,
        arguments: [...signer.options, signer.bundle],
        input: () =>
          canonicalJson({
            origin,
            listen: { host: '127.0.0.1', port: 0 },
            folder: signer.folder,
            build: signer.build,
            builder: signer.organisation,
            roots: roots as never,
            tee: { kind: 'simulated', folder: platform, tee },
          }),
        logFile: join(dataFolder, 'logs', 'log-signer.log'),
        onReport: (report) => {
          if (report.event === 'ready') resolve(Number(report.port))
        },
        onChange: () => undefined,
        onEnd: () => reject(notUp(child?.failure?.error)),
      })
      setTimeout(() => reject(notUp('no answer')), readyMs).unref()
      child.start()
    })
    return await use(`http://127.0.0.1:${port}`)
  } finally {
    await child?.stop()
  }
}

function notUp(why: string | undefined): SupervisorError {
  return new SupervisorError('ERR_PROCESS_FAILED', `the log signer does not come up${why ? `: ${why}` : ''}`)
}
