import { hash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { type Digest, decodeHex, encodeHex, type Json, parseCanonicalJson } from '@cella/bytes'
import { bindingDigestOf, encodeCollateral, encodeEvidence } from '@cella/evidence'
import { nsmDriver } from './devices/nsm.ts'
import { sevGuestDriver } from './devices/sev-guest.ts'
import type { TeeDriver } from './driver.ts'
import { TeeError } from './error.ts'
import { hardwareDrivers } from './hardware.ts'
import { confidentialSpaceDriver } from './http/confidential-space.ts'
import { openTee } from './open.ts'
import { probeSources } from './probe.ts'
import { simulatedCollateral } from './simulated/collateral.ts'
import { readSimulatedLevels, type SimulatedStep, stepSimulatedLevels } from './simulated/levels.ts'
import { type SimulatedTee, simulatedTees } from './simulated/options.ts'
import { createSimulatedPlatform, simulatedRoot } from './simulated/platform.ts'
import { simulatedVendorRoots } from './simulated/vendors.ts'
import type { SourceDriver } from './source.ts'

// What `cella` asks of this machine's TEE, in a process of its own; one JSON value on standard output, exit code 1 with {error}.
//
// node tool-main.ts probe                                              looks for every source of evidence; changes nothing
// node tool-main.ts collect (--report-data HEX | --binding HEX)        evidence over these bytes, or over the digest of
//     [--folder FOLDER --tee KIND]                                     this canonical JSON; of a simulated TEE where named
// node tool-main.ts create --folder FOLDER                             a simulated platform, unless there is one; its roots
// node tool-main.ts levels | roots | collateral --folder FOLDER [--tee KIND]     of a simulated platform
// node tool-main.ts step --folder FOLDER (--publish intel | --install amd|intel | --revoke ask|pck|pck-ca)

const bindingBytesMax = 65_536

const { values, positionals } = parseArgs({
  options: {
    'report-data': { type: 'string' },
    binding: { type: 'string' },
    folder: { type: 'string' },
    tee: { type: 'string' },
    publish: { type: 'string' },
    install: { type: 'string' },
    revoke: { type: 'string' },
  },
  allowPositionals: true,
})

try {
  process.stdout.write(`${JSON.stringify(await answer(positionals[0] ?? ''))}\n`)
} catch (error) {
  const { code, message } = error as { code?: string; message: string }
  process.stdout.write(`${JSON.stringify({ error: { code: code ?? 'ERR_TEE_UNAVAILABLE', message } })}\n`)
  process.exitCode = 1
}

async function answer(call: string): Promise<unknown> {
  switch (call) {
    case 'probe':
      return (await probeSources(allDrivers())).report
    case 'collect':
      return collect()
    case 'levels':
      return readSimulatedLevels(folder())
    case 'create':
      return created(folder())
    case 'roots':
      return [(await simulatedRoot(folder())).root, ...(await simulatedVendorRoots(folder()))]
    case 'collateral':
      return { bundle: encodeHex(encodeCollateral(await simulatedCollateral(folder(), kind()))) }
    case 'step':
      return stepSimulatedLevels(folder(), step())
    default:
      throw new TypeError('usage: probe | collect | create | levels | roots | collateral | step')
  }
}

async function created(path: string): Promise<unknown> {
  try {
    return [(await simulatedRoot(path)).root]
  } catch (error) {
    if (!(error instanceof TeeError) || error.code !== 'ERR_TEE_UNAVAILABLE') throw error
    return [(await createSimulatedPlatform(path)).root]
  }
}

function allDrivers(): SourceDriver[] {
  const sevGuest = sevGuestDriver()
  const nodes = hardwareDrivers({ azureContainerGroup: { report: sevGuest } })
  return [...nodes, nsmDriver(), sevGuest, confidentialSpaceDriver({ audience: 'cella' })]
}

async function collect(): Promise<unknown> {
  const tee = await open()
  const evidence = await tee.getEvidence(field(tee.bindingLength))
  return { ...tee.describe(), evidence: encodeHex(encodeEvidence(evidence)) }
}

async function open(): Promise<TeeDriver> {
  if (values.folder === undefined) {
    const sevGuest = sevGuestDriver()
    return openTee({
      kind: 'hardware',
      look: { azureContainerGroup: { report: sevGuest } },
      devices: [nsmDriver(), sevGuest],
    })
  }
  // What is measured is this tool: it has no other identity to show.
  const measured = {
    nodeDigest: digest(await readFile(process.execPath)),
    bundleDigest: digest(await readFile(process.argv[1] ?? '')),
    commandLine: [...process.execArgv],
  }
  return openTee({ kind: 'simulated', folder: values.folder, tee: kind(), measured })
}

function digest(bytes: Uint8Array): Digest {
  return hash('sha256', bytes, 'hex') as Digest
}

function field(length: number): Uint8Array {
  const given = values['report-data']
  if (given !== undefined) {
    const bytes = decodeHex(given, 'report data')
    if (bytes.length === length) return bytes
    throw new TeeError('ERR_TEE_REFUSED', `report data has ${bytes.length} bytes, this TEE's field has ${length}`)
  }
  const json = parseCanonicalJson(decodeHex(values.binding ?? '', 'binding'), 'binding', bindingBytesMax)
  return bindingDigestOf(json as { readonly [name: string]: Json }, length)!
}

function folder(): string {
  if (values.folder === undefined) throw new TypeError('usage: --folder FOLDER')
  return values.folder
}

function kind(): SimulatedTee {
  const found = simulatedTees.find((known) => known === (values.tee ?? 'sev-snp'))
  if (found === undefined) throw new TypeError(`usage: --tee ${simulatedTees.join(' | ')}`)
  return found
}

function step(): SimulatedStep {
  const { publish, install, revoke } = values
  const named = [publish, install, revoke].filter((value) => value !== undefined)
  if (named.length !== 1) throw new TypeError('usage: one of --publish, --install and --revoke')
  if (publish === 'intel') return { publish }
  if (install === 'amd' || install === 'intel') return { install }
  if (revoke === 'ask' || revoke === 'pck' || revoke === 'pck-ca') return { revoke }
  throw new TypeError('usage: --publish intel | --install amd|intel | --revoke ask|pck|pck-ca')
}
