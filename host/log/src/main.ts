import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { encodeVkey, parseLogPolicy } from '@cella/log'
import { checkLog } from './check.ts'
import { type LogConfig, readLogConfig } from './config.ts'
import { openLog } from './embedded-log.ts'
import { loadLogKey } from './key-file.ts'
import type { Log } from './log.ts'
import { LogServerError } from './log-server-error.ts'
import { openStore } from './open-store.ts'
import { passKey } from './pass-key.ts'
import { openPostgresLog } from './postgres/postgres-log.ts'
import { type RemoteSigner, remoteSigner } from './remote-signer.ts'
import { createLogServer } from './server.ts'
import { type CheckpointSigner, localSigner } from './signing.ts'

// node main.ts --config FILE           serve; the first line on standard output is {"url", "vkey"}
// node main.ts --config FILE --init    make the key where there is none, print {"vkey"}, and end
// node main.ts --config FILE --pass-key URL    have the log's key pass to the signer at URL, print {"index"}, and end
// node main.ts --config FILE --check [--policy FILE]    check all that is stored, print a report, and end

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      config: { type: 'string' },
      init: { type: 'boolean' },
      check: { type: 'boolean' },
      'pass-key': { type: 'string' },
      policy: { type: 'string' },
    },
  })
  if (values.config === undefined) throw new TypeError('usage: --config FILE [--init | --check [--policy FILE]]')
  const config = readLogConfig(values.config)
  if (values.check) {
    const policy = values.policy === undefined ? undefined : parseLogPolicy(readFileSync(values.policy))
    process.stdout.write(`${JSON.stringify(await checkLog(config, policy))}\n`)
    return
  }
  const signer = await signerOf(config)
  const vkey = encodeVkey(signer.key)
  if (values.init) {
    process.stdout.write(`${JSON.stringify({ vkey })}\n`)
    return
  }
  const log = await open(config, signer)
  const next = values['pass-key']
  if (next !== undefined) {
    if (!('statements' in signer)) throw new LogServerError('ERR_LOG_CONFIG', 'a key in a file passes to no signer')
    await signer.announce(log)
    const index = await passKey(log, signer, next)
    await log.close()
    process.stdout.write(`${JSON.stringify({ index })}\n`)
    return
  }
  // What hinders it hinders every other entry too, and is told there.
  if ('announce' in signer) signer.announce(log).catch(() => undefined)
  const server = createLogServer(log, signer)
  const url = await server.listen(config.listen)
  const stop = (): void => {
    server
      .close()
      .then(() => log.close())
      .then(() => process.exit(0), end)
  }
  process.once('SIGTERM', stop)
  process.once('SIGINT', stop)
  process.stdout.write(`${JSON.stringify({ url, vkey })}\n`)
}

async function signerOf({ key, origin }: LogConfig): Promise<CheckpointSigner | RemoteSigner> {
  if ('signer' in key) return remoteSigner(key.signer, origin, { vkey: key.vkey })
  return localSigner(loadLogKey({ file: key.file, name: origin }))
}

async function open(config: LogConfig, signer: CheckpointSigner): Promise<Log> {
  const options = {
    lastSignedFile: config.lastSigned,
    signer,
    witnesses: config.witnesses,
    quorum: config.quorum,
    // After a failed sync the page cache may hold what the disk does not: only a new process reads the truth.
    onFatal: (error: Error) => end(error),
  }
  const { storage } = config
  if ('folder' in storage) return openLog({ ...options, folder: storage.folder })
  const { tiles, postgresUrl: url } = storage
  return openPostgresLog({ ...options, url, store: await openStore(tiles) })
}

function end(error: unknown): never {
  const code = error instanceof LogServerError ? ` (${error.code})` : ''
  process.stderr.write(`error: ${error instanceof Error ? error.message : String(error)}${code}\n`)
  process.exit(1)
}

main().catch(end)
