import * as cedar from '@cedar-policy/cedar-wasm/web'
import { digestOf } from '@cella/primitives'
import { PolicyError } from './error.ts'
import { cedarSchema } from './schema.ts'

/** SHA-256 of `cedar_wasm_bg.wasm` of `@cedar-policy/cedar-wasm` 4.13.0: no other engine decides. */
export const policyEngineDigest = '9ed10461f45bceabbe2c364330500378b71f641b28f7c2a1f6e033c9be2f1d9a'

/** The name under which the engine keeps our schema. */
export const schemaName = 'cella'

let state: 'absent' | 'ready' | 'failed' = 'absent'

/**
 * Where the engine's WebAssembly lies beside its JavaScript, for callers that run unbundled: read it and hand it to
 * `initPolicyEngine`. A bundle embeds the file instead (see the README), and never calls this.
 */
export function policyEngineUrl(): URL {
  return new URL('cedar_wasm_bg.wasm', import.meta.resolve('@cedar-policy/cedar-wasm/web'))
}

/**
 * Starts the Cedar engine from its WebAssembly module, once per process; further calls do nothing. `wasm` are the exact
 * bytes of `policyEngineDigest`, else ERR_POLICY_ENGINE_MISMATCH. No file or network is read here, so the host that
 * serves the file has no say in which engine runs.
 */
export async function initPolicyEngine(wasm: Uint8Array): Promise<void> {
  if (state === 'ready') return
  refuseFailed()
  const bytes = new Uint8Array(wasm)
  const digest = digestOf(bytes)
  if (digest !== policyEngineDigest) {
    throw new PolicyError(
      'ERR_POLICY_ENGINE_MISMATCH',
      `the policy engine has SHA-256 ${digest}, expected ${policyEngineDigest}; reinstall @cedar-policy/cedar-wasm 4.13.0`,
    )
  }
  const module = await WebAssembly.compile(bytes)
  // Another call may have finished while this one compiled.
  if ((state as string) === 'ready') return
  refuseFailed()
  cedar.initSync({ module })
  const answer = cedar.preparseSchema(schemaName, cedarSchema)
  if (answer.type === 'failure') {
    state = 'failed'
    throw new PolicyError('ERR_POLICY_ENGINE_FAILED', `the schema is refused: ${answer.errors[0]?.message}`)
  }
  state = 'ready'
}

/**
 * Runs one call of the engine. A trap (its stack overflowed, it ran out of memory) leaves the WebAssembly instance in an
 * unknown state, so from then on every call throws ERR_POLICY_ENGINE_FAILED and the process has to be restarted: an
 * engine that may be broken never says `allow`. The bounds of `checkPolicyText` keep policies from getting there.
 */
export function engineCall<T>(call: (engine: typeof cedar) => T): T {
  if (state === 'absent') {
    throw new PolicyError('ERR_POLICY_ENGINE_NOT_READY', 'call initPolicyEngine before the first decision')
  }
  refuseFailed()
  try {
    return call(cedar)
  } catch (cause) {
    state = 'failed'
    throw new PolicyError('ERR_POLICY_ENGINE_FAILED', 'the policy engine failed; restart this process', { cause })
  }
}

function refuseFailed(): void {
  if (state === 'failed') {
    throw new PolicyError('ERR_POLICY_ENGINE_FAILED', 'the policy engine failed earlier; restart this process')
  }
}
