import { closeSync, fsyncSync, openSync, readFileSync, statSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'
import { encodeSkey, encodeVkey, generateNoteSigner, type NoteAlgorithm, type NoteSigner, parseSkey } from '@cella/log'
import type { WitnessConfig } from './config.ts'
import { WitnessError } from './witness-error.ts'

/** All keys that the settings name, Ed25519 first, and the verifier keys to give to others. */
export function loadWitnessKeys(config: Pick<WitnessConfig, 'name' | 'keyFile' | 'mlDsaKeyFile'>): {
  keys: NoteSigner[]
  vkeys: string[]
} {
  const { name, keyFile, mlDsaKeyFile } = config
  const keys = [loadWitnessKey({ file: keyFile, name, algorithm: 'ed25519' })]
  if (mlDsaKeyFile !== undefined) keys.push(loadWitnessKey({ file: mlDsaKeyFile, name, algorithm: 'ml-dsa-44' }))
  return { keys, vkeys: keys.map(({ key }) => encodeVkey(key)) }
}

/**
 * A key of the witness, made at the first start (mode 0600). Throws ERR_WITNESS_CONFIG when others can read the file, or
 * when it holds a key of another name or kind.
 */
function loadWitnessKey(options: { file: string; name: string; algorithm: NoteAlgorithm }): NoteSigner {
  const { file, name, algorithm } = options
  make(options)
  if ((statSync(file).mode & 0o077) !== 0) {
    throw new WitnessError('ERR_WITNESS_CONFIG', `the key file ${file} is open to others; run: chmod 600 ${file}`)
  }
  const signer = parseSkey(readFileSync(file, 'utf8').trimEnd())
  if (signer.key.name !== name || signer.key.type !== 'cosignature' || signer.key.algorithm !== algorithm) {
    const held = `${signer.key.algorithm} of ${signer.key.name}`
    throw new WitnessError('ERR_WITNESS_CONFIG', `the key file ${file} holds ${held}, not ${algorithm} of ${name}`)
  }
  return signer
}

function make({ file, name, algorithm }: { file: string; name: string; algorithm: NoteAlgorithm }): void {
  let descriptor: number
  try {
    descriptor = openSync(file, 'wx', 0o600)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return
    throw error
  }
  writeSync(descriptor, `${encodeSkey(generateNoteSigner({ name, type: 'cosignature', algorithm }))}\n`)
  fsyncSync(descriptor)
  closeSync(descriptor)
  const folder = openSync(dirname(file), 'r')
  fsyncSync(folder)
  closeSync(folder)
}
