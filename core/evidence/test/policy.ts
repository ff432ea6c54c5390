import { type AppraisalPolicy, type SnpPolicy, snpBaseline } from '../src/policy.ts'

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
