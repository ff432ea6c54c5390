import { closeSync, fsyncSync, openSync, readFileSync, statSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'
import { encodeSkey, generateNoteSigner, type NoteSigner, parseSkey } from '@cella/log'
import { LogServerError } from './log-server-error.ts'

/**
 * The log's key, made at the first start (mode 0600). Throws ERR_LOG_CONFIG when others can read the file, or
 * when it holds a key of another name.
 */
export function loadLogKey(options: { file: string; name: string }): NoteSigner {
  make(options.file, options.name)
  return readLogKey(options)
}

/** The log's key where there is one. Throws like `loadLogKey`. */
export function readLogKey({ file, name }: { file: string; name: string }): NoteSigner {
  if ((statSync(file).mode & 0o077) !== 0) {
    throw new LogServerError('ERR_LOG_CONFIG', `the key file ${file} is open to others; run: chmod 600 ${file}`)
  }
  const signer = parseSkey(readFileSync(file, 'utf8').trimEnd())
  if (signer.key.name !== name || signer.key.type !== 'note') {
    throw new LogServerError('ERR_LOG_CONFIG', `the key file ${file} is of ${signer.key.name}, not of ${name}`)
  }
  return signer
}

function make(file: string, name: string): void {
  let descriptor: number
  try {
    descriptor = openSync(file, 'wx', 0o600)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return
    throw error
  }
  writeSync(descriptor, `${encodeSkey(generateNoteSigner({ name, type: 'note' }))}\n`)
  fsyncSync(descriptor)
  closeSync(descriptor)
  const folder = openSync(dirname(file), 'r')
  fsyncSync(folder)
  closeSync(folder)
}
