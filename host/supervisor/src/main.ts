import { rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { readS3Settings } from '@cella/blobs'
import { SupervisorError } from './error.ts'
import { Installation } from './installation.ts'
import { lockData } from './lock.ts'
import type { InstallationOptions } from './options.ts'

// node main.ts --data FOLDER [--port N] [--workers N] [--local-witnesses N] [--witness VKEY=URL]… [--enclaves FOLDER]
//   [--vaults N]                   how many vaults, each with keys of its own
//   [--replicas N]                 vaults that join the first and stand in for it
//   [--next-enclaves FOLDER]       a vault of another build joins the first, for organisations that accept it
//   [--vault-until SECONDS]        until when the first vault is served, Unix time: told to who asks
//   [--tee KIND]…                  kinds of TEE to simulate, for the workers in turn; the first is also a new vault's
//   [--public HOST:PORT --tls CERTIFICATE,KEY|self-signed]   serves others too, over TLS
//   [--attest]                     an attestation service as well, reached through the manager under /attest
//   [--log-signer enclave|host]    where the key of a new log lies; enclave when left out
//   [--upgrade-log-signer]         the log's key passes to the log signer among the enclaves, where that is another one
//   [--public-url URL]             under which others reach the manager: part of the attestation service's issuer
//   [--manager-url URL]            what the enclaves are told instead of the manager's own address
//   [--blobs FILE]                 an S3 store for ciphertext, in JSON as a manager's configuration has it
//   [--traces URL]                 an OTLP/HTTP collector, which the manager sends spans to
//   [--cover-seconds N]            at least one entry for each organisation in each N seconds, so that quiet does not show
//   [--lease-seconds N]            how long a worker may be silent before its run is given to the next attempt
//   [--rehearse-clock SECONDS]     manager and log believe a time that many seconds away; config/clock changes it while they run
//   [--end-with-input]             ends when standard input does: with the process that started it, however that one ends
//
// Runs one installation in the foreground. One line of JSON on standard output once it is ready; SIGTERM ends it.

const root = fileURLToPath(new URL('../../..', import.meta.url))

try {
  const { values } = parseArgs({
    options: {
      data: { type: 'string' },
      port: { type: 'string' },
      workers: { type: 'string', default: '1' },
      vaults: { type: 'string', default: '1' },
      replicas: { type: 'string', default: '0' },
      'next-enclaves': { type: 'string' },
      'vault-until': { type: 'string' },
      'local-witnesses': { type: 'string', default: '1' },
      witness: { type: 'string', multiple: true, default: [] },
      tee: { type: 'string', multiple: true, default: [] },
      public: { type: 'string' },
      tls: { type: 'string' },
      attest: { type: 'boolean', default: false },
      'log-signer': { type: 'string' },
      'upgrade-log-signer': { type: 'boolean', default: false },
      'public-url': { type: 'string' },
      'manager-url': { type: 'string' },
      blobs: { type: 'string' },
      traces: { type: 'string' },
      'lease-seconds': { type: 'string', default: '30' },
      'rehearse-clock': { type: 'string' },
      'cover-seconds': { type: 'string' },
      'end-with-input': { type: 'boolean', default: false },
      enclaves: { type: 'string', default: join(root, 'dist/enclave') },
    },
  })
  if (values.data === undefined) throw new SupervisorError('ERR_USAGE', '--data FOLDER is missing')
  const dataFolder = resolve(values.data)
  const unlock = lockData(dataFolder)
  rmSync(join(dataFolder, 'installation.json'), { force: true })
  const installation = new Installation({
    dataFolder,
    root,
    enclaves: values.enclaves,
    port: values.port === undefined ? undefined : count(values.port, '--port', 65_535),
    public: publicAddress(values.public, values.tls),
    workers: count(values.workers, '--workers', 64),
    vaults: Math.max(1, count(values.vaults, '--vaults', 8)),
    replicas: count(values.replicas, '--replicas', 7),
    nextEnclaves: values['next-enclaves'],
    vaultUntil: values['vault-until'] === undefined ? undefined : seconds(values['vault-until'], '--vault-until'),
    tees: values.tee,
    localWitnesses: count(values['local-witnesses'], '--local-witnesses', 16),
    witnesses: values.witness.map(witnessOf),
    attest: values.attest,
    logSigner: placeOfKey(values['log-signer']),
    upgradeLogSigner: values['upgrade-log-signer'],
    publicUrl: values['public-url'],
    managerUrl: values['manager-url'],
    traces: values.traces,
    leaseSeconds: count(values['lease-seconds'], '--lease-seconds', 3600),
    hostClockOffset:
      values['rehearse-clock'] === undefined ? undefined : seconds(values['rehearse-clock'], '--rehearse-clock'),
    coverSeconds: values['cover-seconds'] === undefined ? undefined : coverSeconds(values['cover-seconds']),
    blobs: values.blobs === undefined ? undefined : await readS3Settings(values.blobs),
    databaseUrl: databaseUrl(process.env.DATABASE_URL),
  })
  let stopping = false
  const stop = (code: number): void => {
    if (stopping) return
    stopping = true
    void installation.stop().finally(() => {
      unlock()
      process.exit(code)
    })
  }
  // Whatever was not foreseen: what was started must not be left behind.
  process.on('uncaughtException', (error) => {
    report(error)
    stop(1)
  })
  // SIGHUP: the terminal was closed. What was started has process groups of its own and would stay.
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => stop(0))
  // Nobody reads any more: no reason to end without ending what was started.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined)
  if (values['end-with-input']) {
    process.stdin.on('error', () => stop(0))
    process.stdin.on('end', () => stop(0))
    process.stdin.resume()
  }
  try {
    await installation.start()
    process.stdout.write(`${JSON.stringify({ event: 'ready', url: installation.url })}\n`)
  } catch (error) {
    // Told to end while it started: that is what it does.
    if (!stopping) report(error)
    stop(1)
  }
} catch (error) {
  report(error)
  process.exit(error instanceof SupervisorError && error.code === 'ERR_USAGE' ? 2 : 1)
}

function placeOfKey(text: string | undefined): InstallationOptions['logSigner'] {
  if (text === undefined || text === 'enclave' || text === 'host') return text
  throw new SupervisorError('ERR_USAGE', `--log-signer ${text}: enclave or host`)
}

function coverSeconds(text: string): number {
  const value = count(text, '--cover-seconds', 86_400)
  if (value > 0) return value
  throw new SupervisorError('ERR_USAGE', '--cover-seconds 0: a number from 1; without it there is none')
}

function count(text: string, option: string, max: number): number {
  const value = Number(text)
  if (!/^[0-9]{1,5}$/.test(text) || value > max) {
    throw new SupervisorError('ERR_USAGE', `${option} ${text}: a number from 0 to ${max}`)
  }
  return value
}

function publicAddress(address: string | undefined, tls: string | undefined): InstallationOptions['public'] {
  if (address === undefined && tls === undefined) return undefined
  const [, ipv6, name, port] = /^(?:\[([0-9a-fA-F:.]+)\]|([^:,[\]]+)):([0-9]{1,5})$/.exec(address ?? '') ?? []
  if (port === undefined) throw new SupervisorError('ERR_USAGE', `--public ${address ?? ''}: write HOST:PORT`)
  const where = { host: (ipv6 ?? name)!, port: count(port, '--public', 65_535) }
  if (tls === 'self-signed') return { ...where, tls }
  const [certificateFile, keyFile, ...more] = (tls ?? '').split(',')
  if (!certificateFile || !keyFile || more.length > 0) {
    throw new SupervisorError('ERR_USAGE', `--tls ${tls ?? ''}: write CERTIFICATE,KEY, two PEM files, or self-signed`, {
      hint: 'plain HTTP is served to this machine alone',
    })
  }
  return { ...where, tls: { certificateFile: resolve(certificateFile), keyFile: resolve(keyFile) } }
}

function databaseUrl(text: string | undefined): string | undefined {
  if (text === undefined || text === '') return undefined
  // The value holds a password: it is not repeated.
  if (!/^postgres(?:ql)?:\/\/\S+$/.test(text) || !URL.canParse(text)) {
    throw new SupervisorError(
      'ERR_USAGE',
      'DATABASE_URL is not of the form postgresql://USER:PASSWORD@HOST:PORT/NAME',
      {
        hint: 'correct it, or unset it to use the PostgreSQL that came along',
      },
    )
  }
  return text
}

function seconds(text: string, option: string): number {
  if (!/^-?[0-9]{1,10}$/.test(text)) throw new SupervisorError('ERR_USAGE', `${option} ${text}: whole seconds`)
  return Number(text)
}

function witnessOf(text: string): { vkey: string; url: string } {
  // The base64 of a key may end in "=", an address does not begin with it.
  const match = /^(.+?)=(https?:\/\/.+)$/.exec(text)
  if (match === null) throw new SupervisorError('ERR_USAGE', `--witness ${text}: write VKEY=URL`)
  return { vkey: match[1]!, url: match[2]! }
}

function report(error: unknown): void {
  const { code, message, hint } = error as { code?: string; message: string; hint?: string }
  process.stderr.write(`${JSON.stringify({ event: 'failed', code: code ?? 'ERR_SUPERVISOR', message, hint })}\n`)
}
