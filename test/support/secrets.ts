import { hash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import type { Digest } from '@cella/bytes'
import { decodeBase64url } from '@cella/bytes'
import { enclaveOptions } from '@cella/channel'
import type { SignedDocument } from '@cella/documents'
import { grantInfo, unwrapDek } from '@cella/seal'
import { openTee } from '@cella/tee'
import { parseHolding } from '../../enclave/vault/src/holding.ts'
import { kekOf } from '../../enclave/vault/src/keys.ts'
import { databaseOf } from './database.ts'

// What must stand nowhere, and where to look for it.

/** A secret with the name under which a failing test speaks of it. */
export interface Canary {
  readonly name: string
  readonly bytes: Uint8Array
}

/**
 * The secrets of the vault, as only its own measurement opens them: the simulated TEE of the installation, told that this
 * process was launched as the vault.
 */
export async function vaultSecrets(
  data: string,
  { bundle, grants }: { bundle: string; grants: readonly SignedDocument<'cella/grant'>[] },
): Promise<Canary[]> {
  const digest = (path: string) => hash('sha256', readFileSync(path), 'hex') as Digest
  const measured = { nodeDigest: digest(process.execPath), bundleDigest: digest(bundle), commandLine: enclaveOptions }
  const tee = await openTee({ kind: 'simulated', folder: join(data, 'tee'), measured })
  const unseal = (name: string) =>
    tee.unseal(`cella/v1/vault/${name}`, readFileSync(join(data, 'vault', `${name}.sealed`)))
  const secrets: Canary[] = [{ name: 'signing seed of the vault', bytes: await unseal('identity') }]
  for (const { payload } of grants) {
    const { secret, kek: seed } = parseHolding(await unseal(join('organisations', payload.organisation)))
    const kek = await kekOf(seed)
    const dek = await unwrapDek({
      wrapped: decodeBase64url(payload.wrapped, 'wrapped'),
      recipientPrivateKey: kek.privateKey,
      info: grantInfo(payload.manifest, payload.kek),
    })
    secrets.push(
      { name: `secret of organisation ${payload.organisation}`, bytes: secret },
      { name: `seed of the KEK of organisation ${payload.organisation}`, bytes: seed },
      { name: `KEK of organisation ${payload.organisation}`, bytes: kek.privateKey },
      { name: `DEK of asset ${payload.manifest}`, bytes: new Uint8Array(dek) },
    )
  }
  return secrets
}

/** The ways in which bytes get into text. */
function forms(bytes: Uint8Array): Buffer[] {
  const buffer = Buffer.from(bytes)
  return [
    buffer,
    ...(['hex', 'base64', 'base64url'] as const).flatMap((encoding) => {
      const text = buffer.toString(encoding).replace(/=+$/, '')
      return encoding === 'hex' ? [Buffer.from(text), Buffer.from(text.toUpperCase())] : [Buffer.from(text)]
    }),
  ]
}

/** Names of the canaries that stand in `bytes`, in any form. */
export function canariesIn(bytes: Uint8Array, canaries: readonly Canary[]): string[] {
  const haystack = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return canaries
    .filter((canary) => forms(canary.bytes).some((form) => haystack.includes(form)))
    .map(({ name }) => name)
}

/** Every file below `folder` in which a canary stands, as `path: names`. `files` counts what was read. */
export function searchFolder(folder: string, canaries: readonly Canary[]): { files: number; found: string[] } {
  const found: string[] = []
  let files = 0
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const path = join(entry.parentPath, entry.name)
    let bytes: Buffer
    try {
      bytes = readFileSync(path)
    } catch (error) {
      // The database removes files while one looks.
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') continue
      throw error
    }
    files += 1
    const names = canariesIn(bytes, canaries)
    if (names.length > 0) found.push(`${relative(folder, path)}: ${names.join(', ')}`)
  }
  return { files, found }
}

/** Every row of every table of the installation's own database, as text. */
export async function dumpDatabase(data: string): Promise<{ table: string; rows: string }[]> {
  const client = await databaseOf(data)
  try {
    const { rows: tables } = await client.query<{ name: string }>(
      `select format('%I.%I', table_schema, table_name) as name from information_schema.tables
       where table_type = 'BASE TABLE' and table_schema not in ('pg_catalog', 'information_schema') order by 1`,
    )
    const dumped: { table: string; rows: string }[] = []
    for (const { name } of tables) {
      const { rows } = await client.query<{ row: string }>(`select t::text as row from ${name} t`)
      dumped.push({ table: name, rows: rows.map(({ row }) => row).join('\n') })
    }
    return dumped
  } finally {
    await client.end()
  }
}
