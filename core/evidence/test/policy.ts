import assert from 'node:assert/strict'
import type { Demand } from '../src/demands.ts'
import { type AppraisalPolicy, type SnpPolicy, snpBaseline } from '../src/policy.ts'
import { type ReasonCode, reasonCodes } from '../src/reasons.ts'

/** Accepts whatever is genuine, so that one field at a time can be made strict. */
export const anySnp: SnpPolicy = {
  ...snpBaseline,
  products: 'any',
  minimumTcb: 'any',
  minimumCommittedTcb: 'any',
  minimumLaunchTcb: 'any',
  vmpls: 'any',
  maskedChipId: 'any',
  guest: { ...snpBaseline.guest, migrationAgent: 'any', cxlAllowed: 'any' },
  platform: { ...snpBaseline.platform, aliasCheckComplete: 'any' },
}

export const anything: AppraisalPolicy = {
  simulated: 'any',
  boundaries: 'any',
  measurements: 'any',
  reportData: 'any',
  hostData: 'any',
  platformIds: 'any',
  providers: 'any',
  debug: 'any',
  collateralDaysMax: 'any',
  tees: { 'sev-snp': anySnp },
}

/** The codes that each family reports beyond those of every TEE, whatever comes out. */
const ownCodes: { readonly [tee: string]: (code: ReasonCode) => boolean } = {
  sgx: (code) => /^(intel|sgx)-/.test(code),
  tdx: (code) => /^(intel|tdx)-/.test(code),
  nitro: (code) => code.startsWith('nitro-'),
  cca: (code) => code.startsWith('arm-') && code !== 'arm-caller' && code !== 'arm-certification',
  psa: (code) => code.startsWith('arm-') && code !== 'arm-config',
  tpm: (code) => code.startsWith('tpm-'),
  'azure-vm': (code) => /^(azure|tpm)-/.test(code) && !code.startsWith('azure-uvm'),
  maa: (code) => code.startsWith('maa-'),
  'nvidia-gpu': (code) => code.startsWith('nvidia-'),
  nras: (code) => code.startsWith('nras-'),
  ear: (code) => code.startsWith('ear-'),
}

/** What a family's part of a policy refuses; everything that it may demand has to be reported, met or not. */
export function refusals<Verified, Policy>(
  family: { readonly tee: string; appraise(verified: Verified, policy: Policy): Demand[] },
  verified: NoInfer<Verified>,
  policy: NoInfer<Policy>,
): Demand[] {
  const demands = family.appraise(verified, policy)
  const reported = new Set(demands.map(({ code }) => code))
  assert.deepEqual(
    reasonCodes.filter((code) => ownCodes[family.tee]!(code) && !reported.has(code)),
    [],
  )
  return demands.filter(({ outcome }) => outcome === 'failed')
}
