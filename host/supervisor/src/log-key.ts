import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { SupervisorError } from './error.ts'
import { openSigner, type SignerFolder } from './signer-folder.ts'

// Where the log's key lies: in an enclave of its own, in one of the versions of the log signer, or in a file of the host.

/** What `state.json` keeps of it. */
export interface LogKeyState {
  readonly origin: string
  /** The version of the log signer that holds the key; `host`: a file does. */
  readonly logSigner: string
  /** The version that the key is passing to. */
  readonly nextLogSigner?: string
  /** The log's key, once it is known. */
  readonly vkey?: string
}

/** The installation's processes, as far as the key needs them. */
export interface KeyProcesses {
  runEnclave(name: string, bundle: string, options: readonly string[], configuration: object): void
  /** What a process reported under `NAME:EVENT`. */
  reported(event: string): Record<string, unknown> | undefined
  until(condition: () => boolean): Promise<void>
  end(name: string): Promise<void>
  /** Runs the log server's program on its settings, with these parameters, to its end. */
  log(...parameters: string[]): Promise<Record<string, unknown>>
}

export interface SignerSettings {
  readonly port: number
  readonly tee: object
  readonly roots: unknown
}

/** The log's settings that say where its key is. */
export function keySetting(dataFolder: string, { logSigner, vkey }: LogKeyState, signerPort: number): object {
  if (logSigner === 'host') return { keyFile: join(dataFolder, 'log.key') }
  return { signer: `http://127.0.0.1:${signerPort}`, vkey }
}

/** Has the key at hand, made where there is none, and returns it as C2SP writes it. Throws ERR_LOG_KEY. */
export async function startLogKey(
  dataFolder: string,
  state: LogKeyState,
  { settings, processes }: { settings: SignerSettings; processes: KeyProcesses },
): Promise<string> {
  if (state.logSigner === 'host') return String((await processes.log('--init')).vkey)
  const signer = openSigner(dataFolder, state.logSigner)
  // Where the key is known it has to be there: another one would be born.
  if (state.vkey !== undefined && !existsSync(join(signer.folder, 'key.sealed')))
    throw lost(`${signer.folder} lacks it`)
  run('log-signer', signer, state, { settings, processes })
  await processes.until(() => processes.reported('log-signer:ready') !== undefined)
  const vkey = String(processes.reported('log-signer:ready')!.vkey)
  if (state.vkey === undefined || state.vkey === vkey) return vkey
  throw lost(`the log signer holds ${vkey}, not ${state.vkey}`)
}

function lost(problem: string): SupervisorError {
  return new SupervisorError('ERR_LOG_KEY', `the log’s key is not here: ${problem}`, {
    hint: 'no backup holds it: after a restore, cella log succeed gives the log a successor; else bring log-signer back as it was',
  })
}

/**
 * Has the key pass to another version of the log signer, whose statement is logged before. Nothing else may use the log
 * meanwhile. What ended in between goes on when it is called again. Returns once the new version serves.
 */
export async function passLogKey(
  dataFolder: string,
  state: LogKeyState,
  {
    next,
    nextPort,
    settings,
    processes,
  }: { next: string; nextPort: number; settings: SignerSettings; processes: KeyProcesses },
): Promise<void> {
  const answer = await fetch(`http://127.0.0.1:${settings.port}/statements`)
  const { statements } = (await answer.json()) as { statements: string[] }
  run('log-signer-next', openSigner(dataFolder, next), state, {
    settings: { ...settings, port: nextPort },
    predecessors: statements,
    processes,
  })
  const has = (event: string): boolean => processes.reported(`log-signer-next:${event}`) !== undefined
  await processes.until(() => has('ready') || has('successor'))
  if (has('successor')) await processes.log('--pass-key', `http://127.0.0.1:${nextPort}`)
  await processes.end('log-signer')
  await processes.end('log-signer-next')
  await startLogKey(dataFolder, { ...state, logSigner: next }, { settings, processes })
}

function run(
  name: string,
  { bundle, options, folder, build, organisation }: SignerFolder,
  { origin }: LogKeyState,
  {
    settings: { port, tee, roots },
    predecessors,
    processes,
  }: { settings: SignerSettings; predecessors?: readonly string[]; processes: KeyProcesses },
): void {
  processes.runEnclave(name, bundle, options, {
    origin,
    listen: { host: '127.0.0.1', port },
    folder,
    build,
    builder: organisation,
    roots,
    ...(predecessors && { predecessors }),
    tee,
  })
}
