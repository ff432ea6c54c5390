import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { initPolicyEngine, policyEngineUrl } from '@cella/policy'

/** Starts the policy engine from the file beside this module (a built package) or in its own package (the source tree). */
export async function startPolicyEngine(): Promise<void> {
  const beside = new URL('cedar_wasm_bg.wasm', import.meta.url)
  // Its digest is checked by initPolicyEngine: where it lies decides nothing.
  await initPolicyEngine(await readFile(existsSync(beside) ? beside : policyEngineUrl()))
}
