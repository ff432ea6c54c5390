import { azureVmPresets } from './azure/vm/policy.ts'
import { tdxPresets } from './intel/policy.ts'
import { type NitroPolicy, nitroBaseline } from './nitro/policy.ts'
import { type AppraisalPolicy, type SnpPolicy, snpBaseline } from './policy.ts'

/**
 * What the machines of a cloud look like, as a whole policy: which TEE, which firmware at least, what is on and off. The
 * code that runs there, and the binding that makes evidence fresh, are `any`: name them before relying on it.
 */
export interface Preset {
  readonly name: string
  /** For people. */
  readonly title: string
  readonly policy: AppraisalPolicy
}

const cloud: Omit<AppraisalPolicy, 'boundaries' | 'tees'> = Object.freeze({
  simulated: 'refused',
  measurements: 'any',
  reportData: 'any',
  hostData: 'any',
  platformIds: 'any',
  providers: 'any',
  debug: 'refused',
  collateralDaysMax: 'any',
})

// The floors are those of the real evidence that each preset is tested on: machines of these clouds have met them.
const milan = { bootLoader: 4, tee: 0, snp: 24, microcode: 217 }
const genoa = { bootLoader: 10, tee: 0, snp: 23, microcode: 84 }
const turin = { fmc: 1, bootLoader: 1, tee: 1, snp: 4, microcode: 81 }

function snp(part: Pick<SnpPolicy, 'products' | 'signers' | 'vmpls' | 'minimumTcb'> & Partial<SnpPolicy>): SnpPolicy {
  const { minimumTcb } = part
  return { ...snpBaseline, minimumCommittedTcb: minimumTcb, minimumLaunchTcb: minimumTcb, ...part }
}

/** A simulated SEV-SNP has no patch levels worth a demand. */
export const snpRehearsal: SnpPolicy = Object.freeze({
  ...snpBaseline,
  products: 'any',
  minimumTcb: 'any',
  minimumCommittedTcb: 'any',
  minimumLaunchTcb: 'any',
  vmpls: [0],
})

/** Accepts a simulated SEV-SNP machine, whatever runs there: name its measurements before relying on it. */
export const rehearsalPolicy: AppraisalPolicy = {
  ...cloud,
  simulated: 'any',
  boundaries: ['vm'],
  tees: { 'sev-snp': snpRehearsal },
}

/** A name is stable; what it demands may get stricter with a release, never laxer. */
export const presets: readonly Preset[] = Object.freeze([
  {
    name: 'aws-nitro',
    title: 'AWS Nitro Enclaves, commercial partition',
    policy: {
      ...cloud,
      boundaries: ['vm'],
      providers: ['aws'],
      tees: { nitro: { ...nitroBaseline, nonce: 'any', ageSecondsMax: 300 } satisfies NitroPolicy },
    },
  },
  {
    name: 'aws-snp',
    title: 'AWS EC2 with SEV-SNP: the provider’s key, chips not named, guests at privilege level 1',
    policy: {
      ...cloud,
      boundaries: ['vm'],
      tees: {
        'sev-snp': snp({
          products: ['Milan'],
          signers: ['vlek'],
          vmpls: [0, 1],
          minimumTcb: { Milan: milan },
          maskedChipId: 'any',
        }),
      },
    },
  },
  {
    name: 'azure-container-snp',
    title: 'Azure confidential containers, the SEV-SNP report alone',
    policy: {
      ...cloud,
      boundaries: ['vm'],
      tees: {
        'sev-snp': snp({
          products: ['Milan', 'Genoa', 'Turin'],
          signers: ['vcek'],
          vmpls: [0],
          minimumTcb: { Milan: { ...milan, microcode: 219 }, Genoa: genoa, Turin: turin },
          minimumAbi: { major: 0, minor: 31 },
        }),
      },
    },
  },
  {
    name: 'azure-tdx',
    title: 'Azure confidential VM with TDX, the quote alone',
    policy: { ...cloud, boundaries: ['vm'], tees: { tdx: tdxPresets.azure } },
  },
  {
    name: 'azure-vm-snp',
    title: 'Azure confidential VM with SEV-SNP, its vTPM’s quote bound to the report',
    policy: { ...cloud, boundaries: ['vm'], tees: { 'azure-vm': azureVmPresets.sevSnp } },
  },
  {
    name: 'azure-vm-tdx',
    title: 'Azure confidential VM with TDX, its vTPM’s quote bound to the quote',
    policy: { ...cloud, boundaries: ['vm'], tees: { 'azure-vm': azureVmPresets.tdx } },
  },
  {
    name: 'gcp-snp',
    title: 'Google Cloud confidential VM with SEV-SNP: guests at privilege level 0 or 1',
    policy: {
      ...cloud,
      boundaries: ['vm'],
      tees: {
        'sev-snp': snp({
          products: ['Milan'],
          signers: ['vcek'],
          vmpls: [0, 1],
          minimumTcb: { Milan: { ...milan, snp: 27, microcode: 222 } },
        }),
      },
    },
  },
  {
    name: 'gcp-tdx',
    title: 'Google Cloud confidential VM with TDX',
    policy: { ...cloud, boundaries: ['vm'], tees: { tdx: tdxPresets.gcp } },
  },
])
