import { randomBytes } from 'node:crypto'
import { cp, readFile, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { encodeVkey, type NoteKey, parseVkey } from '@cella/log'
import { beginSuccessor, type CheckpointSigner, loadLogKey, localSigner, remoteSigner } from '@cella/log-server'
import { withLogSigner } from '@cella/supervisor'
import { z } from 'zod'
import { BackupError } from './error.ts'
import { writeWhole } from './repository.ts'

const stateSchema = z.looseObject({
  origin: z.string(),
  logSigner: z.string().default('host'),
  vkey: z.string().optional(),
  tees: z.array(z.string()).min(1).default(['sev-snp']),
})
type State = z.infer<typeof stateSchema>

const root = fileURLToPath(new URL('../../..', import.meta.url))

export interface SucceedReport {
  /** What owners check and accept. */
  readonly succession: string
  readonly from: { readonly origin: string; readonly size: number }
  readonly to: { readonly origin: string; readonly vkey: string }
}

/**
 * Gives an installation whose log lost what it signed (restored from a backup, above all) a successor: the same leaves
 * under a new name and key. The old log's key, checkpoint and tiles stay beside, as `log-before-SIZE`. Nothing may run on the
 * folder. `state.json` changes last: before that, the next try begins anew.
 */
export async function succeedLog(dataFolder: string): Promise<SucceedReport> {
  const at = (name: string): string => join(dataFolder, name)
  // A start that was refused leaves an empty one.
  if (await holdsSomething(at('last-signed'))) {
    throw new BackupError('ERR_BACKUP_SOURCE', 'the log knows what it signed last: it needs no successor', {
      hint: 'start it: cella up. If it says ERR_LOG_SET_BACK and no newer copy of log/ is left, move last-signed away for good',
    })
  }
  const state = await readState(at('state.json'))
  const oldKey = keyOf(dataFolder, state)
  const origin = state.origin.replace(/[^/]*$/, randomBytes(8).toString('hex'))
  for (const name of ['log.next', 'log.key.next', 'last-signed.next'])
    await rm(at(name), { recursive: true, force: true })
  await cp(at('log'), at('log.next'), { recursive: true })
  await rm(join(at('log.next'), 'wal'), { recursive: true, force: true })
  const { succession, size, vkey } = await withSigner(dataFolder, { ...state, origin }, async (signer) => ({
    ...(await beginSuccessor({
      folder: at('log.next'),
      lastSignedFile: at('last-signed.next'),
      oldKey,
      signer,
    })),
    vkey: encodeVkey(signer.key),
  }))
  await writeWhole(at('succession.json'), succession)
  const before = at(`log-before-${size}`)
  await rename(at('log'), before)
  await rename(at('log.next'), at('log'))
  if (state.logSigner === 'host') {
    await rename(at('log.key'), join(before, 'log.key'))
    await rename(at('log.key.next'), at('log.key'))
  }
  await rename(at('last-signed.next'), at('last-signed'))
  await writeWhole(at('state.json'), Buffer.from(`${JSON.stringify({ ...state, origin, vkey }, null, 2)}\n`))
  return { succession: at('succession.json'), from: { origin: state.origin, size }, to: { origin, vkey } }
}

/** The key of the log that is lost. */
function keyOf(dataFolder: string, { origin, logSigner, vkey }: State): NoteKey {
  if (logSigner === 'host') return loadLogKey({ file: join(dataFolder, 'log.key'), name: origin }).key
  if (vkey === undefined) throw new BackupError('ERR_BACKUP_SOURCE', 'state.json does not say the key of the log')
  return parseVkey(vkey)
}

/** With the signer of the new log: born in the enclave, or in a file, as that of the old one. */
async function withSigner<T>(
  dataFolder: string,
  { origin, logSigner, tees }: State,
  use: (signer: CheckpointSigner) => Promise<T>,
): Promise<T> {
  if (logSigner === 'host') {
    return use(localSigner(loadLogKey({ file: join(dataFolder, 'log.key.next'), name: origin })))
  }
  // Of a try before, or of the log that is lost: of another name, which the new one's signer refuses.
  for (const name of ['key', 'statements', 'state', 'handover']) {
    await rm(join(dataFolder, 'log-signer', logSigner, `${name}.sealed`), { force: true })
  }
  const place = { dataFolder, id: logSigner, origin, tee: tees[0]!, root }
  return withLogSigner(place, async (url) => use(await remoteSigner(url, origin)))
}

async function holdsSomething(path: string): Promise<boolean> {
  return stat(path).then(
    ({ size }) => size > 0,
    () => false,
  )
}

async function readState(path: string): Promise<State> {
  try {
    return stateSchema.parse(JSON.parse(await readFile(path, 'utf8')))
  } catch (cause) {
    throw new BackupError('ERR_BACKUP_SOURCE', `${path} can't be read: no installation was restored here`, {
      cause,
      hint: 'cella backup restore FOLDER --data FOLDER comes first',
    })
  }
}
