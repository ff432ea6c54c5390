import { readFileSync } from 'node:fs'
import { isKeyName } from '@cella/log'
import type { ListenAddress } from './listen.ts'
import { logRequestsPerSecond } from './witness.ts'
import { WitnessError } from './witness-error.ts'

export interface WitnessConfig {
  /** The witness's name, of which its verifier key is made. */
  readonly name: string
  /** SQLite file of the state. */
  readonly file: string
  /** Ed25519; made at the first start, mode 0600. */
  readonly keyFile: string
  /** The same for a key of ML-DSA-44 beside it. Without it the witness has one key. */
  readonly mlDsaKeyFile: string | undefined
  /** Verifier keys of the logs that it watches. */
  readonly logs: readonly string[]
  /** Folder of a mirror's copies. Without it, it is a witness. */
  readonly copies: string | undefined
  readonly listen: ListenAddress
  /** Of all logs and readers; default 1000. */
  readonly requestsPerSecond: number
  /** Of each log; default 200. */
  readonly logRequestsPerSecond: number
}

/** The settings, all from one JSON file: nothing comes from the environment. Throws ERR_WITNESS_CONFIG. */
export function readWitnessConfig(file: string): WitnessConfig {
  let value: unknown
  try {
    value = JSON.parse(readFileSync(file, 'utf8'))
  } catch (cause) {
    throw new WitnessError('ERR_WITNESS_CONFIG', `the settings ${file} can't be read as JSON`, { cause })
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong('is no object')
  const { name, file: state, keyFile, mlDsaKeyFile, logs, copies, listen, ...rest } = value as Record<string, unknown>
  const { requestsPerSecond = 1000, logRequestsPerSecond: perLog = logRequestsPerSecond, ...others } = rest
  for (const other of Object.keys(others)) throw wrong(`has a member ${other}, which no witness knows`)
  if (typeof name !== 'string' || !isKeyName(name)) throw wrong('needs name: no space, no plus')
  if (typeof state !== 'string' || state === '') throw wrong('needs file: the path of the state')
  if (typeof keyFile !== 'string' || keyFile === '') throw wrong('needs keyFile: the path of the key')
  if (!Array.isArray(logs) || logs.some((log) => typeof log !== 'string')) throw wrong('needs logs: verifier keys')
  if (mlDsaKeyFile !== undefined && (typeof mlDsaKeyFile !== 'string' || mlDsaKeyFile === '')) {
    throw wrong('has an mlDsaKeyFile that is no path')
  }
  if (copies !== undefined && (typeof copies !== 'string' || copies === '')) throw wrong('has copies that is no path')
  return {
    name,
    file: state,
    keyFile,
    mlDsaKeyFile,
    logs,
    copies,
    listen: parseListen(listen),
    requestsPerSecond: parseRate(requestsPerSecond, 'requestsPerSecond'),
    logRequestsPerSecond: parseRate(perLog, 'logRequestsPerSecond'),
  }
}

function parseRate(value: unknown, name: string): number {
  if (typeof value !== 'number' || !(value >= 1)) throw wrong(`needs ${name} of at least 1`)
  return value
}

function parseListen(value: unknown): ListenAddress {
  if (typeof value === 'object' && value !== null) {
    const { host, port, path, ...others } = value as Record<string, unknown>
    if (Object.keys(others).length === 0) {
      if (typeof path === 'string' && path !== '' && host === undefined && port === undefined) return { path }
      if (typeof host === 'string' && typeof port === 'number' && path === undefined) return { host, port }
    }
  }
  throw wrong('needs listen: {"host", "port"} or {"path"}')
}

function wrong(problem: string): WitnessError {
  return new WitnessError('ERR_WITNESS_CONFIG', `the settings file ${problem}`)
}
