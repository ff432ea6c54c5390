import { Secret } from '@cella/bytes'
import type { Boundary, Evidence, EvidenceEntry, TeeName } from '@cella/evidence'
import { randomBytes } from '@cella/primitives'
import { type ConfigfsOptions, configfsDriver } from './configfs/driver.ts'
import type { TeeDriver } from './driver.ts'
import { TeeError } from './error.ts'
import { type GramineOptions, gramineDriver } from './gramine/driver.ts'
import { type AciOptions, aciDriver } from './http/aci.ts'
import { type CocoOptions, cocoDriver } from './http/coco.ts'
import { type DstackOptions, dstackDriver } from './http/dstack.ts'
import { type ProbeReport, probeSources } from './probe.ts'
import { sealUnder, unsealUnder } from './sealing.ts'
import type { EvidencePiece, SourceDriver } from './source.ts'
import { type AzureVmOptions, azureVtpmDriver } from './tpm/azure.ts'

/** Where to look, for each driver that needs no native code; its defaults are the paths of real machines. */
export interface HardwareOptions {
  readonly gramine?: GramineOptions
  readonly azureContainerGroup?: AciOptions
  readonly azureVtpm?: AzureVmOptions
  readonly configfs?: ConfigfsOptions
  readonly dstack?: DstackOptions
  readonly coco?: CocoOptions
}

/** The drivers in pure Node that give evidence. Those of `@cella/tee/devices` are for builds that name them. */
export function hardwareDrivers(options: HardwareOptions = {}): SourceDriver[] {
  return [
    gramineDriver(options.gramine),
    aciDriver(options.azureContainerGroup),
    azureVtpmDriver(options.azureVtpm),
    configfsDriver(options.configfs),
    dstackDriver(options.dstack),
    cocoDriver(options.coco),
  ]
}

/**
 * The TEE that is found first. Throws TeeError ERR_TEE_UNAVAILABLE with what was tried; never anything simulated. One
 * evidence is asked for at once: a TEE that can't give any must not hold a vault's keys first.
 */
export async function openHardwareTee(drivers: readonly SourceDriver[]): Promise<TeeDriver> {
  const { source, report } = await probeSources(drivers)
  if (source === undefined) throw new TeeError('ERR_TEE_UNAVAILABLE', `no TEE was found: ${reasons(report)}`)
  if (source.rehashes !== undefined) {
    const hint = 'its daemon hashes the binding once more; use a device build, which asks /dev/sev-guest'
    throw new TeeError('ERR_TEE_UNAVAILABLE', `${source.name}: ${hint}`)
  }
  const first = await source.collect(randomBytes(source.bindingLength))
  const { tee, boundary } = kindOf(first)
  evidenceOf(first)
  const sealingKey = new Secret((await source.sealingKey?.()) ?? randomBytes(32))
  return {
    kind: source.name,
    bindingLength: source.bindingLength,
    describe: () => ({
      kind: source.name,
      tee,
      boundary,
      simulated: false,
      measurement: null,
      platformId: null,
      sealing: source.sealingKey === undefined ? 'launch' : 'measurement',
    }),
    getEvidence: async (reportData) => evidenceOf(await source.collect(reportData)),
    seal: async (label, bytes) => sealUnder(sealingKey.expose(), label, bytes),
    unseal: async (label, sealed) => unsealUnder(sealingKey.expose(), label, sealed),
  }
}

/** Evidence of the pieces, in their order. Throws TeeError where the host gave none of the certificates that travel along. */
export function evidenceOf(pieces: readonly EvidencePiece[]): Evidence {
  for (const { format, fields } of pieces) {
    const empty = Object.entries(fields).find(([, value]) => Array.isArray(value) && value.length === 0)
    if (empty !== undefined) {
      throw new TeeError('ERR_TEE_UNAVAILABLE', `${format}: the host hands out no ${empty[0]}; have it set them`)
    }
  }
  return { entries: pieces.map(({ role, format, fields }): EvidenceEntry => ({ role, format, ...fields })) }
}

const kinds: Readonly<Record<string, { readonly tee: TeeName; readonly boundary: Boundary }>> = {
  'sev-snp/1': { tee: 'sev-snp', boundary: 'vm' },
  'tdx/1': { tee: 'tdx', boundary: 'vm' },
  'sgx/1': { tee: 'sgx', boundary: 'process' },
  'cca/1': { tee: 'cca', boundary: 'vm' },
  'nitro/1': { tee: 'nitro', boundary: 'vm' },
  'azure-vm/1': { tee: 'azure-vm', boundary: 'vm' },
  'azure-container-group/1': { tee: 'azure-container-group', boundary: 'container-group' },
}

function kindOf([first]: readonly EvidencePiece[]): { readonly tee: TeeName; readonly boundary: Boundary } {
  const kind = kinds[first?.format ?? '']
  if (kind === undefined) {
    throw new TeeError(
      'ERR_TEE_UNAVAILABLE',
      `${first?.format} is a token and no evidence that an enclave can start with`,
    )
  }
  return kind
}

function reasons({ drivers }: ProbeReport): string {
  return drivers
    .filter(({ outcome }) => outcome === 'absent')
    .map(({ name, why }) => `${name}: ${why}`)
    .join('; ')
}
