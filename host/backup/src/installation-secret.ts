import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { decodeBase64url, encodeBase64url, encodeUtf8 } from '@cella/bytes'
import { asDek, type Dek } from '@cella/seal'
import { BackupError } from './error.ts'
import { writeWhole } from './repository.ts'

// <data folder>/backup.key   the secret of this installation's backups, base64url. Who reads the data folder reads all
//                            that is in a backup anyway; with it there, a backup needs no passphrase.

/** `undefined` before the first backup. */
export async function readSecret(dataFolder: string): Promise<Dek | undefined> {
  const path = join(dataFolder, 'backup.key')
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new BackupError('ERR_BACKUP_SOURCE', `${path} can't be read`, { cause })
  }
  try {
    return asDek(decodeBase64url(text.trim(), 'backup.key'))
  } catch {
    throw new BackupError('ERR_BACKUP_MALFORMED', `${path} is not what this release writes`, {
      hint: 'move it away; the next backup then needs another folder, or what opens the old one',
    })
  }
}

export async function writeSecret(dataFolder: string, secret: Dek): Promise<void> {
  await writeWhole(join(dataFolder, 'backup.key'), encodeUtf8(`${encodeBase64url(secret)}\n`))
}
