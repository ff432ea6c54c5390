import { hash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { type Digest, encodeHex } from '@cella/bytes'
import { digestOf } from '@cella/primitives'

/** What a simulated TEE measures of this process; a real one has measured it before the process began. */
export interface Launch {
  readonly nodeDigest: Digest
  readonly bundleDigest: Digest
  readonly commandLine: readonly string[]
}

/** The Node binary, the one bundle and the command line of this process. Reads both files once. */
export async function measureLaunch(): Promise<Launch> {
  const [node, bundle] = await Promise.all([readFile(process.execPath), readFile(process.argv[1] ?? '')])
  return {
    // 120 MB at once: the streaming hash takes twice as long.
    nodeDigest: encodeHex(hash('sha256', node, 'buffer')) as Digest,
    bundleDigest: digestOf(bundle),
    commandLine: [...process.execArgv, ...process.argv.slice(2)],
  }
}

/**
 * Refuses to run as anything but a bundle on the fixed command line: with an environment that could change what runs
 * (NODE_OPTIONS, preloads, extra CAs), or with the inspector open.
 */
export function requireHardened(required: readonly string[]): void {
  const forbidden = Object.keys(process.env).filter((name) => /^(NODE_|SSL_|OPENSSL_|LD_|UV_|NPM_)/i.test(name))
  if (forbidden.length > 0) throw new Error(`start with an empty environment: ${forbidden.join(', ')} must not be set`)
  const missing = required.filter((option) => !process.execArgv.includes(option))
  if (missing.length > 0 || process.execArgv.length !== required.length) {
    throw new Error(`start with exactly these Node options: ${required.join(' ')}`)
  }
}

/** The Node options of every enclave. They are part of its measurement. */
export const enclaveOptions: readonly string[] = [
  '--disable-warning=ExperimentalWarning',
  '--disallow-code-generation-from-strings',
  '--disable-sigusr1',
  '--no-addons',
  '--no-experimental-ffi',
  '--max-http-header-size=16384',
  // The policy engine's WebAssembly: what only a start needs is not optimized, which took as long as the start itself.
  '--wasm-tiering-budget=30000000',
]

/** What vault and worker may be told beside what those of the first release know: a host tells an older one nothing else. */
export const enclaveSettings: readonly string[] = ['log']
