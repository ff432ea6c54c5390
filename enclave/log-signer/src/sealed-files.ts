import { open, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { type TeeDriver, TeeError } from '@cella/tee'
import { SignerError } from './error.ts'

/** What was sealed under `name`; `undefined` where nothing was. Throws ERR_SIGNER_STATE. */
export async function readSealed(tee: TeeDriver, folder: string, name: string): Promise<Uint8Array | undefined> {
  let sealed: Uint8Array
  try {
    sealed = await readFile(join(folder, `${name}.sealed`))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  return unsealAs(tee, name, sealed)
}

/** After a crash there is the old file or the new one. */
export async function writeSealed(tee: TeeDriver, folder: string, name: string, bytes: Uint8Array): Promise<void> {
  await writeDurably(folder, `${name}.sealed`, await sealAs(tee, name, bytes))
}

export function sealAs(tee: TeeDriver, name: string, bytes: Uint8Array): Promise<Uint8Array> {
  return tee.seal(`cella/v1/log-signer/${name}`, bytes)
}

/** The inverse of `sealAs`. Throws ERR_SIGNER_STATE. */
export async function unsealAs(tee: TeeDriver, name: string, sealed: Uint8Array): Promise<Uint8Array> {
  try {
    return await tee.unseal(`cella/v1/log-signer/${name}`, sealed)
  } catch (cause) {
    if (!(cause instanceof TeeError)) throw cause
    throw new SignerError('ERR_SIGNER_STATE', `${name}: sealed by another measurement, or altered`, { cause })
  }
}

/** Writes a file whole or not at all. */
export async function writeDurably(folder: string, name: string, bytes: Uint8Array): Promise<void> {
  const path = join(folder, name)
  const temporary = `${path}.tmp`
  const file = await open(temporary, 'w', 0o600)
  try {
    await file.writeFile(bytes)
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(temporary, path)
  const parent = await open(folder, 'r')
  try {
    await parent.sync()
  } finally {
    await parent.close()
  }
}
