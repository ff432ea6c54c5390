import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after } from 'node:test'
import { concatBytes, parseDigest, uint32Bytes } from '@cella/bytes'
import { createSimulatedPlatform, openTee, type SimulatedTee } from '../src/index.ts'

// Evidence of our own making for the emulated kernels and daemons: a simulated platform signs it.

export const folder: string = mkdtempSync(join(tmpdir(), 'cella-made-'))
after(() => rmSync(folder, { recursive: true, force: true }))
let platform: Promise<unknown> | undefined

const measured = {
  nodeDigest: parseDigest('a'.repeat(64), 'node'),
  bundleDigest: parseDigest('b'.repeat(64), 'bundle'),
  commandLine: [],
}

/** The fields of fresh simulated evidence over these 64 bytes. */
export async function made(tee: SimulatedTee, reportData: Uint8Array): Promise<Record<string, unknown>> {
  platform ??= createSimulatedPlatform(folder)
  await platform
  const driver = await openTee({ kind: 'simulated', folder, measured, tee })
  const { entries } = await driver.getEvidence(reportData)
  return entries[0] as unknown as Record<string, unknown>
}

export async function madeSnp(
  reportData: Uint8Array,
): Promise<{ report: Uint8Array; certificates: readonly Uint8Array[]; table: Uint8Array }> {
  const { report, certificates } = (await made('sev-snp', reportData)) as {
    report: Uint8Array
    certificates: readonly Uint8Array[]
  }
  return { report, certificates, table: certificateTable(certificates) }
}

const guids = [
  '63da758de6644564adc5f4b93be8accd', // VCEK
  '4ab7b379bbac4fe4a02f05aef327c782', // ASK
  'c0b406a4a803495297433fb6014cd0ae', // ARK
]

/** A GHCB certificate table of VCEK, ASK and ARK, filled up to whole pages as the kernel gives it. */
export function certificateTable(certificates: readonly Uint8Array[]): Uint8Array {
  let offset = 24 * (certificates.length + 1)
  const entries = certificates.map((certificate, at) => {
    const entry = concatBytes(Uint8Array.fromHex(guids[at]!), littleEndian(offset), littleEndian(certificate.length))
    offset += certificate.length
    return entry
  })
  const table = concatBytes(...entries, new Uint8Array(24), ...certificates)
  return concatBytes(table, new Uint8Array(-table.length & 4095))
}

function littleEndian(value: number): Uint8Array {
  return uint32Bytes(value).toReversed()
}

/** A folder of its own below the made ones. */
export function place(name: string): string {
  const path = join(folder, name)
  mkdirSync(path, { recursive: true })
  return path
}
