import { readFileSync } from 'node:fs'
import type { S3Options } from '@cella/blobs'
import { isKeyName, parseVkey } from '@cella/log'
import type { ListenAddress } from './listen.ts'
import { LogServerError } from './log-server-error.ts'
import type { WitnessSetting } from './witness-client.ts'

export interface LogConfig {
  /** The log's name in checkpoints, like `log.example/one`. */
  readonly origin: string
  readonly storage: LogStorage
  /** Outside of the storage and of its backups; on a volume that all front-ends of a PostgreSQL log share. */
  readonly lastSigned: string
  /** Where the log's key is made at the first start (mode 0600), or the URL of the signer that holds it, and which. */
  readonly key: { readonly file: string } | { readonly signer: string; readonly vkey: string | undefined }
  readonly witnesses: readonly WitnessSetting[]
  /** How many of them have to cosign; all when left out. */
  readonly quorum: number
  readonly listen: ListenAddress
}

/** Where a log lies: files on one disk, or PostgreSQL that puts it in order with its tiles beside. */
type LogStorage =
  | { readonly folder: string }
  | { readonly postgresUrl: string; readonly tiles: { readonly folder: string } | { readonly s3: S3Options } }

/** The settings, all from one JSON file: nothing comes from the environment. Throws ERR_LOG_CONFIG. */
export function readLogConfig(file: string): LogConfig {
  let value: unknown
  try {
    value = JSON.parse(readFileSync(file, 'utf8'))
  } catch (cause) {
    throw new LogServerError('ERR_LOG_CONFIG', `the settings ${file} can't be read as JSON`, { cause })
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong('is no object')
  const { origin, folder, postgres, tiles, lastSigned, keyFile, signer, vkey, witnesses, quorum, listen, ...others } =
    value as Record<string, unknown>
  for (const other of Object.keys(others)) throw wrong(`has a member ${other}, which no log knows`)
  if (typeof origin !== 'string' || !isKeyName(origin)) throw wrong('needs origin: no space, no plus')
  const settings = parseWitnesses(witnesses)
  const count = quorum ?? settings.length
  if (!Number.isInteger(count) || (count as number) < 0 || (count as number) > settings.length) {
    throw wrong(`needs a quorum from 0 to ${settings.length}`)
  }
  const config = {
    origin,
    storage: parseStorage({ folder, postgres, tiles }),
    lastSigned: path(lastSigned, 'lastSigned'),
    key: parseKey({ keyFile, signer, vkey }),
    witnesses: settings,
    quorum: count as number,
    listen: parseListen(listen),
  }
  const stored = 'folder' in config.storage ? config.storage : config.storage.tiles
  if ('folder' in stored && `${config.lastSigned}/`.startsWith(`${stored.folder}/`)) {
    throw wrong('needs lastSigned outside of folder: a backup of the one must not set back the other')
  }
  return config
}

function parseKey({ keyFile, signer, vkey }: Record<'keyFile' | 'signer' | 'vkey', unknown>): LogConfig['key'] {
  if (signer === undefined) {
    if (vkey !== undefined) throw wrong('has vkey, which goes with a signer')
    return { file: path(keyFile, 'keyFile') }
  }
  if (keyFile !== undefined) throw wrong('has a keyFile and a signer: one of them holds the key')
  if (typeof signer !== 'string' || !/^https?:\/\/[^/]+$/.test(signer)) {
    throw wrong('needs signer: a URL without a path, like http://127.0.0.1:7423')
  }
  if (vkey !== undefined && typeof vkey !== 'string') throw wrong('needs vkey: the key that the signer has to hold')
  return { signer, vkey }
}

function parseStorage(given: Record<'folder' | 'postgres' | 'tiles', unknown>): LogStorage {
  if (given.postgres === undefined && given.tiles === undefined) return { folder: path(given.folder, 'folder') }
  if (given.folder !== undefined) throw wrong('has folder and postgres: a log lies in one of them')
  const { url, ...others } = (given.postgres ?? {}) as Record<string, unknown>
  if (typeof url !== 'string' || !/^postgres(?:ql)?:\/\//.test(url) || Object.keys(others).length > 0) {
    throw wrong('needs postgres: {"url": "postgresql://…"}')
  }
  const { folder, s3, ...rest } = (given.tiles ?? {}) as Record<string, unknown>
  if (Object.keys(rest).length > 0 || (folder === undefined) === (s3 === undefined)) {
    throw wrong('needs tiles: {"folder"} or {"s3"}')
  }
  return { postgresUrl: url, tiles: s3 === undefined ? { folder: path(folder, 'tiles.folder') } : { s3: parseS3(s3) } }
}

function parseS3(value: unknown): S3Options {
  const { endpoint, bucket, region, accessKeyId, secretAccessKey, sessionToken, prefix, ...others } = (value ??
    {}) as Record<string, unknown>
  const [other] = Object.keys(others)
  if (other !== undefined) throw wrong(`has tiles.s3.${other}, which no log knows`)
  const text = (given: unknown, name: string): string => path(given, `tiles.s3.${name}`)
  return {
    endpoint: text(endpoint, 'endpoint'),
    bucket: text(bucket, 'bucket'),
    region: text(region, 'region'),
    accessKeyId: text(accessKeyId, 'accessKeyId'),
    secretAccessKey: text(secretAccessKey, 'secretAccessKey'),
    ...(sessionToken !== undefined && { sessionToken: text(sessionToken, 'sessionToken') }),
    ...(prefix !== undefined && { prefix: text(prefix, 'prefix') }),
  }
}

function path(value: unknown, name: string): string {
  if (typeof value !== 'string' || value === '') throw wrong(`needs ${name}: a path`)
  return value
}

function parseWitnesses(value: unknown): WitnessSetting[] {
  if (!Array.isArray(value)) throw wrong('needs witnesses: [{"vkey", "url"}]')
  return value.map((item: unknown) => {
    const { vkey, url, ...others } = (item ?? {}) as Record<string, unknown>
    if (typeof vkey !== 'string' || typeof url !== 'string' || Object.keys(others).length > 0) {
      throw wrong('needs witnesses: [{"vkey", "url"}]')
    }
    if (!/^https?:\/\/[^/?#]/.test(url) || !URL.canParse(url)) throw wrong(`has a witness at ${url}, which is no URL`)
    try {
      const key = parseVkey(vkey)
      if (key.type === 'cosignature') return { key, url: url.replace(/\/$/, '') }
    } catch (cause) {
      throw new LogServerError('ERR_LOG_CONFIG', `the witness key ${vkey} can't be read`, { cause })
    }
    throw wrong(`has a witness key ${vkey} that can't cosign`)
  })
}

function parseListen(value: unknown): ListenAddress {
  if (typeof value === 'object' && value !== null) {
    const { host, port, path: socket, ...others } = value as Record<string, unknown>
    if (Object.keys(others).length === 0) {
      if (typeof socket === 'string' && socket !== '' && host === undefined && port === undefined) {
        return { path: socket }
      }
      if (typeof host === 'string' && typeof port === 'number' && socket === undefined) return { host, port }
    }
  }
  throw wrong('needs listen: {"host", "port"} or {"path"}')
}

function wrong(problem: string): LogServerError {
  return new LogServerError('ERR_LOG_CONFIG', `the settings file ${problem}`)
}
