import { encodeUtf8 } from '@cella/bytes'
import { encodeVkey, type LogPolicy, parseLogPolicy } from '@cella/log'
import type { LogConfig } from './config.ts'
import { type FsckReport, fsck } from './fsck.ts'
import { readLogKey } from './key-file.ts'
import { openStore } from './open-store.ts'
import { checkPostgresLog } from './postgres/check.ts'
import { remoteSigner } from './remote-signer.ts'

/** Checks the log of these settings, wherever it lies. Without a policy, by the key and the witnesses of the settings. */
export async function checkLog(config: LogConfig, given?: LogPolicy): Promise<FsckReport> {
  const policy = given ?? (await policyOf(config))
  const { storage } = config
  if ('folder' in storage) return fsck(storage.folder, policy)
  return checkPostgresLog({ url: storage.postgresUrl, store: await openStore(storage.tiles), policy })
}

async function policyOf({ key: held, origin, witnesses, quorum }: LogConfig): Promise<LogPolicy> {
  const { key } =
    'signer' in held ? await remoteSigner(held.signer, origin) : readLogKey({ file: held.file, name: origin })
  const names = witnesses.map((_, at) => `w${at}`)
  const lines = witnesses.map((witness, at) => `witness ${names[at]} ${encodeVkey(witness.key)}\n`).join('')
  const needed = quorum === 0 ? 'quorum none\n' : `group q ${quorum} ${names.join(' ')}\nquorum q\n`
  return parseLogPolicy(encodeUtf8(`log ${encodeVkey(key)}\n${lines}${needed}`))
}
